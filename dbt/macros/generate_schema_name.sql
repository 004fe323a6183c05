{#
    Put models into the schemas staging, intermediate and marts, without dbt's prefix. A developer's models are all in the schema of the
    target.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (target.schema if target.name == 'dev' else custom_schema_name or target.schema) | trim }}
{%- endmacro %}
