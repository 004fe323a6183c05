{# A text such as 3, 0.5 or 1/1500 as a numeric; null if it is empty. #}
{% macro parse_fraction(text) -%}
    round(
        nullif(split_part({{ text }}, '/', 1), '')::numeric / case when {{ text }} like '%/%' then split_part({{ text }}, '/', 2) else '1' end::numeric,
        18
    )
{%- endmacro %}
