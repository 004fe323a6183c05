{# Marts may show values only of sources whose meta classifies them as one of these. #}
{% macro showable_classifications() -%}
    {{ return(['public', 'internal']) }}
{%- endmacro %}


{# A condition on a column of dataset names: marts may show the dataset's values. False for a dataset that no source declares. #}
{% macro is_showable_dataset(column) -%}
    {%- set datasets = [] -%}
    {%- for source in (graph.sources.values() if execute else []) if source.config.meta.get('classification') in showable_classifications() -%}
        {%- do datasets.append(quoted_text(source.identifier)) -%}
    {%- endfor -%}
    {{ column ~ ' in (' ~ datasets | sort | join(', ') ~ ')' if datasets else 'false' }}
{%- endmacro %}


{# Whether marts may show the values of a raw table. #}
{% macro may_show_values(relation) -%}
    {%- set found = namespace(is_showable=false) -%}
    {%- for source in (graph.sources.values() if execute else [])
        if source.schema == relation.schema and source.identifier == relation.identifier
        and source.config.meta.get('classification') in showable_classifications() -%}
        {%- set found.is_showable = true -%}
    {%- endfor -%}
    {{ return(found.is_showable) }}
{%- endmacro %}
