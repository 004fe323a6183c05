{#
    Override dbt's incremental materialization for builds of changes: insert the query's rows straight into the table. dbt would write
    them into a temporary table first, compare its columns with the table's, and comment every column again, but transform-warehouse
    builds in full whenever the project or a column changed.
#}
{% materialization incremental, adapter='postgres' -%}
    {%- if not changes_only() -%}
        {{ return(dbt.materialization_incremental_default()) }}
    {%- endif -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- set columns = get_quoted_csv(adapter.get_columns_in_relation(this) | map(attribute='name')) -%}
    {%- call statement('main') -%}
        insert into {{ this }} ({{ columns }})
        select {{ columns }}
        from (
            {{ sql }}
        ) as changed_rows
    {%- endcall -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [this]}) }}
{%- endmaterialization %}
