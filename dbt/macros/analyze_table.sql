{#
    A post-hook: collect statistics, without which Postgres plans the next models as if this table were tiny. After an incremental
    build, autovacuum does it when enough rows have changed.
#}
{% macro analyze_table() -%}
    {%- if model.config.materialized in ('table', 'seed') or model.config.materialized == 'incremental' and not changes_only() -%}
        analyze {{ this }}
    {%- endif -%}
{%- endmacro %}
