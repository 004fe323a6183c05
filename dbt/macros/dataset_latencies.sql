{# The latency of each dataset in days, as the freshness of its source states it, as a subquery; contracts lint compares both. #}
{% macro dataset_latencies() -%}
    {%- set rows = [] -%}
    {%- for source in (graph.sources.values() if execute else []) | sort(attribute='identifier') -%}
        {%- set age = source.freshness.warn_after if source.freshness else none -%}
        {%- if age and age.count and (age.period | string) == 'day' -%}
            {%- do rows.append('(' ~ quoted_text(source.identifier) ~ ', ' ~ age.count ~ ')') -%}
        {%- endif -%}
    {%- endfor -%}
    (values {{ rows | join(', ') or '(null::text, null::integer)' }})
{%- endmacro %}
