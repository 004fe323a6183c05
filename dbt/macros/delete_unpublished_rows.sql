{#
    A post-hook of marts: in a build as of a moment, delete the rows that were not public by then. The views of the schema as_of leave out
    the same rows (jobs/transform-warehouse/transform_warehouse/as_of.py). A fact is known from a session: its day begins in New York.
#}
{% macro delete_unpublished_rows() -%}
    {%- if var('as_of') -%}
        {%- if 'known_at' in model.columns -%}
            delete from {{ this }} where known_at > {{ as_of_literal() }}
        {%- elif 'known_from' in model.columns and model.columns['known_from'].data_type == 'date' -%}
            delete from {{ this }} where known_from > ({{ as_of_literal() }} at time zone 'America/New_York')::date
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
