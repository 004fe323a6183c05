{#
    A query that joins neighbouring versions of a key with the same figures into one, if the later is known when the earlier ends.
    `versions` has `known_at` and `known_to`, which do not overlap within a key.
#}
{% macro merge_versions(versions, key, figures) -%}
    select
        {{ (key + figures) | join(', ') }},
        min(known_at) as known_at,
        max(known_to) as known_to
    from (
        select
            *,
            count(*) filter (where is_same is not true) over (partition by {{ key | join(', ') }} order by known_at) as version
        from (
            select
                versions.*,
                lag(known_to) over earlier = known_at
                and lag(row({{ figures | join(', ') }})::text) over earlier = row({{ figures | join(', ') }})::text as is_same
            from {{ versions }} as versions
            window earlier as (partition by {{ key | join(', ') }} order by known_at)
        ) as compared
    ) as numbered
    group by {{ key | join(', ') }}, version, {{ figures | join(', ') }}
{%- endmacro %}
