{{ config(indexes=[{'columns': ['series_id', 'known_from'], 'unique': true}]) }}

select
    series.series_id,
    series.title,
    series.frequency,
    series.unit,
    series.seasonal_adjustment,
    series.first_period,
    series.last_period,
    series.title ~* '\(discontinued' as is_discontinued,
    release.release_id,
    release.release_name,
    series.last_updated_at,
    {{ vintage_known_from('series.vintage_date') }} as known_from,
    {{ vintage_known_to('series.last_vintage_date') }} as known_to
from {{ ref('int_macro_series') }} as series
left join lateral (
    select
        releases.release_id,
        releases.release_name
    from {{ ref('stg_fred__series_releases') }} as releases
    where releases.series_id = series.series_id and releases.vintage_date <= series.last_vintage_date
    order by releases.vintage_date desc, releases.release_id asc
    limit 1
) as release on true
