{# Whether a unique index of a table has exactly these columns. False for a view. #}
{% macro has_unique_key(relation, columns) -%}
    {%- if not execute -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set names = [] -%}
    {%- for column in columns | sort -%}
        {%- do names.append(quoted_text(column)) -%}
    {%- endfor -%}
    {{ return(run_query(
        'select exists (select from pg_index where indrelid = to_regclass(' ~ quoted_text(relation.include(database=false)) ~ ')'
        ~ ' and indisunique and indisvalid and indpred is null and indexprs is null and array[' ~ names | join(', ') ~ '] = array('
        ~ 'select attname::text collate "C" from pg_attribute where attrelid = indrelid and attnum = any(indkey) order by 1))'
    ).columns[0].values()[0]) }}
{%- endmacro %}
