{#
    Every model as a plain view in the schema as_of, over raw tables as they were known at a moment that the session sets:
        set finelt.as_of = '2013-01-15 12:00Z'; select * from as_of.fct_price_daily;
    Made at the end of a full build from the models' own SQL. Without the setting they say what the marts say.
#}
{% macro as_of_views() -%}
    {%- if execute and flags.FULL_REFRESH -%}
        {%- set names = [] -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
            {%- do names.append((api.Relation.create(target.database, node.schema, node.name) | string, '"as_of"."' ~ node.name ~ '"')) -%}
        {%- endfor %}
        drop schema if exists as_of cascade;
        create schema as_of;
        comment on schema as_of is 'The marts as known at the moment of the setting finelt.as_of.';
        create function as_of.moment() returns timestamptz language sql stable as
            $$ select coalesce(nullif(current_setting('finelt.as_of', true), '')::timestamptz, 'infinity') $$;
        {%- for source in graph.sources.values() %}
        {%- set relation = adapter.get_relation(target.database, source.schema, source.identifier) %}
        {%- if relation is not none %}
        {%- do names.append((relation | string, '"as_of"."' ~ source.identifier ~ '"')) %}
        {%- set columns = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
        create view "as_of"."{{ source.identifier }}" as
        select
            {%- for column in columns %}
            {% if column == 'known_to' %}case when known_to > as_of.moment() then 'infinity' else known_to end as known_to
            {%- else %}{{ adapter.quote(column) }}{% endif %}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ relation }}
        where {{ 'known_from' if 'known_from' in columns else 'known_at' }} <= as_of.moment();
        {%- endif %}
        {%- endfor %}
        {%- for result in results if result.status == 'success' and result.node.resource_type == 'model' %}
        {%- set sql = namespace(text=result.node.compiled_code) %}
        {%- for was, now_is in names %}
        {%- set sql.text = sql.text | replace(was, now_is) %}
        {%- endfor %}
        create view "as_of"."{{ result.node.name }}" as {{ sql.text }};
        {%- endfor %}
    {%- endif -%}
{%- endmacro %}
