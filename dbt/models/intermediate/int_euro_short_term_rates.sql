{{ config(materialized='table') }}

with published as (
    select
        split_part(versions.series_key, '.', 4) as item,
        versions.period_start as rate_date,
        versions.value,
        versions.loaded_at,
        versions.closed_at,
        (
            (
                select min(sessions.session_date)
                from {{ ref('dim_calendar') }} as sessions
                where
                    sessions.calendar = 'TARGET'
                    and sessions.session_date > versions.period_start
                    and sessions.session_date <= versions.period_start + 10
            ) + time '08:00'
        ) at time zone 'Europe/Berlin' as published_at
    from {{ ref('stg_sdmx__observation_versions') }} as versions
    where
        versions.agency = 'ECB'
        and versions.series_key in (
            'EST.B.EU000A2X2A25.WT', 'EST.B.EU000A2X2A25.R25', 'EST.B.EU000A2X2A25.R75', 'EST.B.EU000A2X2A25.TT'
        )
),

-- each series has its own versions: the commits of one delivery are seconds apart
dated as (
    {{ date_versions('published', ['item', 'rate_date'], ['value']) }}
),

changes as (
    select rate_date, known_at
    from dated
    union
    select rate_date, known_to
    from dated
),

intervals as (
    select
        rate_date,
        known_at,
        lead(known_at) over (partition by rate_date order by known_at) as known_to
    from changes
)

select
    intervals.rate_date,
    (max(dated.value) filter (where dated.item = 'WT'))::numeric(8, 4) as rate_pct,
    (max(dated.value) filter (where dated.item = 'R25'))::numeric(8, 4) as percentile_25_pct,
    (max(dated.value) filter (where dated.item = 'R75'))::numeric(8, 4) as percentile_75_pct,
    (max(dated.value) filter (where dated.item = 'TT') / 1e9)::numeric(12, 3) as volume_eur_bn,
    intervals.known_at,
    intervals.known_to
from intervals
inner join dated
    on
        dated.rate_date = intervals.rate_date
        and dated.known_at <= intervals.known_at
        and dated.known_to > intervals.known_at
where intervals.known_to is not null
group by intervals.rate_date, intervals.known_at, intervals.known_to
having max(dated.value) filter (where dated.item = 'WT') is not null
