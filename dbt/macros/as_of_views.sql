{#
    Every model as a plain view in the schema as_of, over raw tables as they were known at a moment that the session sets:
        set finelt.as_of = '2013-01-15 12:00Z'; select * from as_of.fct_price_daily;
    Made at the end of a full build from the models' own SQL. Without the setting they say what the marts say. What is made of seeds alone
    is the same at every moment and a table, a copy, as a view on the model's table would go with it at its next build.
#}
{% macro as_of_views() -%}
    {%- if execute and flags.FULL_REFRESH -%}
        {%- set models, current, versions = [], [], [] -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
            {%- do models.append((api.Relation.create(target.database, node.schema, node.name) | string, '"as_of"."' ~ node.name ~ '"')) -%}
        {%- endfor %}
        drop schema if exists as_of cascade;
        create schema as_of;
        comment on schema as_of is 'The marts as known at the moment of the setting finelt.as_of.';
        create function as_of.moment() returns timestamptz language sql stable as
            $$ select coalesce(nullif(current_setting('finelt.as_of', true), '')::timestamptz, '9999-12-31') $$;
        {%- for source in graph.sources.values() %}
        {%- set raw = adapter.get_relation(target.database, source.schema, source.identifier) %}
        {%- if raw is not none %}
        {%- set columns = adapter.get_columns_in_relation(raw) | map(attribute='name') | list %}
        {%- do current.append((raw | string, '"as_of"."' ~ source.identifier ~ '"')) %}
        {%- do versions.append((raw | string, '"as_of"."' ~ source.identifier ~ '_versions"')) %}
        create view "as_of"."{{ source.identifier }}" as
        select {{ as_of_columns(columns, "'infinity'::timestamptz") }}
        from {{ raw }}
        where
            {{ 'known_from' if 'known_from' in columns else 'known_at' }} <= (select as_of.moment())
            {%- if 'known_to' in columns %} and known_to > (select as_of.moment()){% endif %};
        {#- what came later undone: a row that was closed later is open #}
        create view "as_of"."{{ source.identifier }}_versions" as
        select {{ as_of_columns(columns, "case when known_to > (select as_of.moment()) then 'infinity' else known_to end") }}
        from {{ raw }}
        where {{ 'known_from' if 'known_from' in columns else 'known_at' }} <= (select as_of.moment());
        {%- endif %}
        {%- endfor %}
        {%- for result in results if result.status == 'success' and result.node.resource_type == 'model' %}
        {%- set sql = namespace(text=result.node.compiled_code) %}
        {%- for was, now_is in models + (versions if result.node.name == 'stg_lake__cells_restated' or result.node.name.endswith('_versions') else current) %}
        {%- set sql.text = sql.text | replace(was, now_is) %}
        {%- endfor %}
        {%- if is_made_of_seeds(result.node) %}
        create table "as_of"."{{ result.node.name }}" (like {{ result.node.relation_name }} including indexes);
        insert into "as_of"."{{ result.node.name }}" select * from {{ result.node.relation_name }};
        analyze "as_of"."{{ result.node.name }}";
        {%- else %}
        create view "as_of"."{{ result.node.name }}" as {{ sql.text }};
        {%- endif %}
        {%- endfor %}
    {%- endif -%}
{%- endmacro %}


{# A raw table's columns, with something else for known_to. #}
{% macro as_of_columns(columns, known_to) -%}
    {%- for column in columns -%}
        {{ known_to ~ ' as known_to' if column == 'known_to' else adapter.quote(column) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{# Whether a model is made of seeds alone, directly or by way of other models. #}
{% macro is_made_of_seeds(node) -%}
    {%- for name in node.depends_on.nodes -%}
        {%- if not name.startswith('seed.') and not (name in graph.nodes and is_made_of_seeds(graph.nodes[name])) -%}
            {{ return(false) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(true) }}
{%- endmacro %}
