{#
    The columns of a wide raw row as (key, value) rows, for a lateral join. Values are text, so a column that the vendor adds needs no
    code; with `function='jsonb_each'` they keep their JSON types. `exclude` lists the columns that identify the row; those that the
    loader adds are excluded as well.
#}
{# row.*, because a vendor's column may have the name of the row. #}
{% macro unpivot(row, exclude, function='jsonb_each_text') -%}
    {{ function }}(
        to_jsonb({{ row }}.*)
        - array[
            {%- for name in exclude + ['_row_number', '_load_id', 'known_from', 'known_to'] -%}
                {{ quoted_text(name) }}{{ ', ' if not loop.last }}
            {%- endfor -%}
        ]
    )
{%- endmacro %}
