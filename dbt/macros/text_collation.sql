{#
    Override dbt's macro so that text columns of tables with a contract are collated "C", as in raw tables. Comparing a mart's ticker
    with a raw table's uses "C", and an index in another collation cannot answer it.
    Source: PostgreSQL manual, 23.2 Collation Support and 11.11 Indexes and Collations.
#}
{% macro postgres__get_table_columns_and_constraints() -%}
    {%- set columns = adapter.render_raw_columns_constraints(raw_columns=model.columns) -%}
    (
        {%- for line in columns %}
        {{ modules.re.sub('^("[^"]*"|\S+) text\\b', '\\1 text collate "C"', line) }}{{ ',' if not loop.last or model.constraints }}
        {%- endfor %}
        {%- for line in adapter.render_raw_model_constraints(raw_constraints=model.constraints) %}
        {{ line }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
