{# A column, table or schema name as SQL, whatever characters it contains. adapter.quote does not escape quotes inside a name. #}
{% macro quoted_name(name) -%}
    {{ return('"' ~ (name | string | replace('"', '""')) ~ '"') }}
{%- endmacro %}


{# A text as an SQL literal, whatever characters it contains. #}
{% macro quoted_text(text) -%}
    {{ return("'" ~ (text | string | replace("'", "''")) ~ "'") }}
{%- endmacro %}


{# The var as_of as a timestamptz literal. The build stops unless it has a date, a time and a time zone. #}
{% macro as_of_literal() -%}
    {%- set shape = '\\d{4}-\\d{2}-\\d{2}[T ]\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,6})?)?(Z|[+-]\\d{2}:\\d{2})' -%}
    {%- if not modules.re.fullmatch(shape, var('as_of') | string) -%}
        {{ exceptions.raise_compiler_error("as_of is " ~ var('as_of') ~ "; expected a moment such as 2013-01-15T12:00:00+00:00") }}
    {%- endif -%}
    {{ return(quoted_text(var('as_of')) ~ '::timestamptz') }}
{%- endmacro %}
