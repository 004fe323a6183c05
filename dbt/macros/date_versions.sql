{#
    A query for versions of figures with the time from which (known_at) and until which (known_to) each was known. The first version was
    known from its publication on, however late it was loaded. A later one is a correction, known only from the moment at which it reached
    us, because such vendors keep neither the earlier figure nor the time of the change.
    `versions` has one row per key and row version with `published_at`, `loaded_at` and `closed_at`. Neighbours with the same `figures` are
    one version: other columns of the row changed.
#}
{% macro date_versions(versions, key, figures) -%}
    select
        *,
        case
            when last_closed_at = 'infinity'
                then coalesce(lead(known_at) over later_versions, {{ end_of_time() }} at time zone 'UTC')
            else coalesce(lead(known_at) over later_versions, greatest(last_closed_at, published_at))
        end as known_to
    from (
        select
            *,
            case when figures_before is null then published_at else greatest(loaded_at, published_at) end as known_at
        from (
            select
                versions.*,
                row({{ figures | join(', ') }})::text as figures_text,
                lag(row({{ figures | join(', ') }})::text) over (partition by {{ key | join(', ') }} order by loaded_at) as figures_before,
                max(closed_at) over (partition by {{ key | join(', ') }}) as last_closed_at
            from {{ versions }} as versions
        ) as compared
        where figures_text is distinct from figures_before
    ) as changed
    window later_versions as (partition by {{ key | join(', ') }} order by loaded_at)
{%- endmacro %}
