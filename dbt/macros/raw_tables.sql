{#
    A raw table's current rows as a subquery; with the var as_of, the rows known at that moment.
    A table that was never loaded is empty, with the columns that its source YAML declares.
#}
{% macro current_rows(relation) -%}
    {%- if not is_loaded(relation) -%}
        (select {{ declared_columns(relation) }} limit 0)
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


{#
    A raw table's row versions as a subquery: all of them, or those known by the moment of the var as_of. A version closed after that
    moment is shown as open. Use it only in models whose name ends with _versions; the as-of views of others read current rows.
#}
{% macro row_versions(relation) -%}
    {%- if not is_loaded(relation) -%}
        (select {{ declared_columns(relation) }}, null::timestamptz as closed_at limit 0)
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


{# Typed nulls under the names of the columns that the source YAML declares. #}
{% macro declared_columns(relation) -%}
    {%- for source in graph.sources.values()
        if source.schema == relation.schema and source.identifier == relation.identifier -%}
        {%- for column in source.columns.values() -%}
            null::{{ column.data_type }} as {{ quoted_name(column.name) }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}


{#
    Whether a raw table was ever loaded. Asks the server, because dbt's cache (load_relation) is unsafe here: while one thread fills it
    for a schema, other threads see only some of the schema's tables, and the marts would miss the rows of the rest.
#}
{% macro is_loaded(relation) -%}
    {%- if not execute -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(run_query('select to_regclass(' ~ quoted_text(relation.include(database=false)) ~ ') is not null').columns[0].values()[0]) }}
{%- endmacro %}


{# A raw table's column, or null of its type if the table is older than the column in the contract. #}
{% macro optional_column(relation, name, type) -%}
    {%- if execute and is_loaded(relation) -%}
        {%- set found = run_query(
            'select count(*) from pg_attribute where attrelid = ' ~ quoted_text(relation.include(database=false)) ~ '::regclass'
            ~ ' and attname = ' ~ quoted_text(name)
        ).columns[0].values()[0] -%}
        {{ return(quoted_name(name) if found else 'null::' ~ type) }}
    {%- endif -%}
    {{ return(quoted_name(name)) }}
{%- endmacro %}
