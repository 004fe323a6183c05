{#
    When a version of a figure was known: the first one from its publication on, however late it was loaded; a later one, which is a
    correction, only from the moment at which it reached us, because the vendor keeps neither the earlier figure nor the time.
    `versions` has one row per key and version with `published_at`, `loaded_at` and `closed_at`; returns a query for the same rows with
    known_at and known_to.
#}
{% macro date_versions(versions, key) -%}
    select
        *,
        case
            when row_number() over earlier_versions = 1 then published_at
            else greatest(loaded_at, published_at)
        end as known_at,
        case
            when closed_at = 'infinity' then {{ end_of_time() }} at time zone 'UTC'
            else greatest(closed_at, published_at)
        end as known_to
    from {{ versions }}
    window earlier_versions as (partition by {{ key | join(', ') }} order by loaded_at)
{%- endmacro %}
