{#
    A wide raw row as one (key, value) row per vendor column, values as text: a column the vendor adds needs no code.
    Left out are the columns that identify the row and those the loader adds. With jsonb_each for `each` the values keep their types.
#}
{# The star: a vendor's column may be called like the row. #}
{% macro cells(row, identified_by, each='jsonb_each_text') -%}
    {{ each }}(
        to_jsonb({{ row }}.*)
        - array[
            {%- for name in identified_by + ['_row_number', '_load_id', 'known_from', 'known_to'] -%}
                {{ quoted_text(name) }}{{ ', ' if not loop.last }}
            {%- endfor -%}
        ]
    )
{%- endmacro %}
