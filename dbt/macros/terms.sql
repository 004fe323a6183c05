{#
    Whether values of a dataset may be shown in marts, as a condition on a column that names datasets: only those of sources whose meta
    says that they are public or internal. A dataset that no source declares is none of them.
#}
{% macro values_are_shown(column) -%}
    {%- set found = [] -%}
    {%- for source in (graph.sources.values() if execute else []) if source.config.meta.get('classification') in ('public', 'internal') -%}
        {%- do found.append(quoted_text(source.identifier)) -%}
    {%- endfor -%}
    {{ column ~ ' in (' ~ found | sort | join(', ') ~ ')' if found else 'false' }}
{%- endmacro %}


{# Whether a raw table's values may be shown in marts. #}
{% macro shows_values(relation) -%}
    {%- set found = namespace(shown=false) -%}
    {%- for source in (graph.sources.values() if execute else [])
        if source.schema == relation.schema and source.identifier == relation.identifier
        and source.config.meta.get('classification') in ('public', 'internal') -%}
        {%- set found.shown = true -%}
    {%- endfor -%}
    {{ return(found.shown) }}
{%- endmacro %}
