{# The text if it is a valid ISO date such as 2013-06-03, else null. Never fails, unlike a cast: 2013-02-30 is null. #}
{% macro valid_date_text(text) -%}
    case
        when {{ text }} !~ '^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then null
        when right({{ text }}, 2)::int <= extract(day from (left({{ text }}, 7) || '-01')::date + interval '1 month - 1 day') then {{ text }}
    end
{%- endmacro %}


{# A text as a date; null if it is no valid ISO date. #}
{% macro date_or_null(text) -%}
    ({{ valid_date_text(text) }})::date
{%- endmacro %}


{#
    The end of an open period in marts. Not infinity: clients that read Arrow or Python dates turn that into another date or an error.
    Source: PostgreSQL manual, 8.5 Date/Time Types; Arrow's date32 has no infinity.
#}
{% macro end_of_time() -%}
    {{ return("date '9999-12-31'") }}
{%- endmacro %}
