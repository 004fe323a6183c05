{{ config(indexes=[{'columns': ['series_id', 'known_from'], 'unique': true}]) }}

-- each release of a series until the next one begins, and none before the first
with first_releases as (
    select distinct on (series_id, vintage_date)
        series_id,
        release_id,
        release_name,
        vintage_date
    from {{ ref('stg_fred__series_releases') }}
    order by series_id, vintage_date, release_id
),

releases as (
    select
        series_id,
        release_id,
        release_name,
        vintage_date,
        lead(vintage_date, 1, {{ end_of_time() }} + 1) over (partition by series_id order by vintage_date) - 1 as last_vintage_date
    from first_releases
    union all
    select
        series_id,
        null,
        null,
        '0001-01-01',
        min(vintage_date) - 1
    from first_releases
    group by series_id
)

select
    series.series_id,
    series.title,
    series.frequency,
    series.unit,
    series.seasonal_adjustment,
    series.title ~* '\(discontinued' as is_discontinued,
    releases.release_id,
    releases.release_name,
    {{ vintage_known_from('greatest(series.vintage_date, releases.vintage_date)') }} as known_from,
    {{ vintage_known_to('least(series.last_vintage_date, releases.last_vintage_date)') }} as known_to
from {{ ref('int_macro_series') }} as series
left join releases
    on series.series_id = releases.series_id
    and series.vintage_date <= releases.last_vintage_date
    and series.last_vintage_date >= releases.vintage_date
