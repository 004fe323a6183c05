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


{#
    A raw table as a subquery with every version of its rows that was known by now, or by the moment of the var as_of; what was closed
    later than that moment is open. Read by models whose name ends with _versions, which the schema as_of gives versions as well.
#}
{% macro row_versions(relation) -%}
    {%- if not is_loaded(relation) -%}
        (select {{ columns_declared(relation) }}, null::timestamptz as closed_at limit 0)
    {%- elif var('as_of') -%}
        (
            select versions.*, case when known_to > {{ as_of_literal() }} then 'infinity' else known_to end as closed_at
            from {{ relation }} as versions
            where known_from <= {{ as_of_literal() }}
        )
    {%- else -%}
        (select versions.*, known_to as closed_at from {{ relation }} as versions)
    {%- endif -%}
{%- endmacro %}
