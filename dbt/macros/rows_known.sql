{#
    A raw table as a subquery: its current rows, or with the var as_of the rows known at that moment.
    A table that nothing was loaded into yet reads as empty, with the columns its source YAML declares.
#}
{% macro rows_known(relation) -%}
    {%- if not is_loaded(relation) -%}
        (select {{ columns_declared(relation) }} limit 0)
    {%- elif var('as_of') -%}
        (
            select *
            from {{ relation }}
            where known_from <= {{ as_of_literal() }} and known_to > {{ as_of_literal() }}
        )
    {%- else -%}
        (select * from {{ relation }} where known_to = 'infinity')
    {%- endif -%}
{%- endmacro %}


{# Typed nulls named as the columns that the source YAML declares. #}
{% macro columns_declared(relation) -%}
    {%- for source in graph.sources.values()
        if source.schema == relation.schema and source.identifier == relation.identifier -%}
        {%- for column in source.columns.values() -%}
            null::{{ column.data_type }} as {{ quoted_name(column.name) }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}
