{#
    Whether anything was ever loaded into a raw table. The server is asked: dbt's cache (load_relation), while it takes in a schema,
    tells other threads that the tables it has not come to yet are not there, and their rows would be missing from the marts.
#}
{% macro is_loaded(relation) -%}
    {%- if not execute -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(run_query('select to_regclass(' ~ quoted_text(relation.include(database=false)) ~ ') is not null').columns[0].values()[0]) }}
{%- endmacro %}
