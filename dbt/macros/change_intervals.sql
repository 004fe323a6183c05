{#
    A query for the intervals of each key between the moments at which one of its versions begins or ends. The `relations` have the columns of
    the key, `known_at` and `known_to`. Join them to an interval by `known_at <= intervals.known_at and known_to > intervals.known_at`.
#}
{% macro change_intervals(relations, key) -%}
    select *
    from (
        select
            {{ key | join(', ') }},
            known_at,
            lead(known_at) over (partition by {{ key | join(', ') }} order by known_at) as known_to
        from (
            {%- for relation in relations %}
            select {{ key | join(', ') }}, known_at from {{ relation }}
            union
            select {{ key | join(', ') }}, known_to from {{ relation }}
            {{- ' union' if not loop.last }}
            {%- endfor %}
        ) as changes
    ) as intervals
    where known_to is not null
{%- endmacro %}
