{#
    A query for versions of figures with the time from which (known_at) and until which (known_to) each was known. The first version was
    known from its publication on, however late it was loaded. A later one is a correction, known only from the moment at which it reached
    us, because such vendors keep neither the earlier figure nor the time of the change.
    `versions` has one row per key and row version with `published_at`, `loaded_at` and `closed_at`. Neighbours with the same `figures` are
    one version: other columns of the row changed. A row that was gone for a while is not known meanwhile.
#}
{% macro date_versions(versions, key, figures) -%}
    select
        *,
        least(
            lead(known_at) over later_versions,
            case
                when last_closed_at = 'infinity' then {{ end_of_time() }} at time zone 'UTC'
                else greatest(last_closed_at, published_at)
            end
        ) as known_to
    from (
        select
            *,
            max(closed_at) over (partition by {{ key | join(', ') }}, version) as last_closed_at,
            case when version = 1 then published_at else greatest(loaded_at, published_at) end as known_at
        from (
            select
                *,
                count(*) filter (where is_new) over (partition by {{ key | join(', ') }} order by loaded_at) as version
            from (
                select
                    versions.*,
                    lag(closed_at) over earlier is distinct from loaded_at
                    or lag(row({{ figures | join(', ') }})::text) over earlier
                    is distinct from row({{ figures | join(', ') }})::text as is_new
                from {{ versions }} as versions
                window earlier as (partition by {{ key | join(', ') }} order by loaded_at)
            ) as compared
        ) as numbered
    ) as joined
    where is_new
    window later_versions as (partition by {{ key | join(', ') }} order by loaded_at)
{%- endmacro %}
