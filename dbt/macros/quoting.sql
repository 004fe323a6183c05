{# A column, table or schema name as SQL takes it, whatever it contains. adapter.quote does not double quotes inside a name. #}
{% macro quoted_name(name) -%}
    {{ return('"' ~ (name | string | replace('"', '""')) ~ '"') }}
{%- endmacro %}


{# A text as an SQL literal, whatever it contains. #}
{% macro quoted_text(text) -%}
    {{ return("'" ~ (text | string | replace("'", "''")) ~ "'") }}
{%- endmacro %}


{# The var as_of as a timestamptz literal. Anything but a moment with a date, a time and a time zone stops the build. #}
{% macro as_of_literal() -%}
    {%- set shape = '\\d{4}-\\d{2}-\\d{2}[T ]\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,6})?)?(Z|[+-]\\d{2}:\\d{2})' -%}
    {%- if not modules.re.fullmatch(shape, var('as_of') | string) -%}
        {{ exceptions.raise_compiler_error("as_of is " ~ var('as_of') ~ "; expected a moment such as 2013-01-15T12:00:00+00:00") }}
    {%- endif -%}
    {{ return(quoted_text(var('as_of')) ~ '::timestamptz') }}
{%- endmacro %}


{#
    The last day of whatever lasts, in marts: Postgres' infinity is another date, or an error, in clients that read Arrow or Python's dates.
    Source: PostgreSQL manual, 8.5 Date/Time Types; Arrow's date32 has no infinity.
#}
{% macro end_of_time() -%}
    {{ return("date '9999-12-31'") }}
{%- endmacro %}
