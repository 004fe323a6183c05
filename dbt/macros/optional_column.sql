{# A raw table's column, or null of its type where the table was made before the contract had it. #}
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
