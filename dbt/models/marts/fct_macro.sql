{{ config(indexes=[{'columns': ['series_id', 'period', 'known_from'], 'unique': true}]) }}

select
    observations.series_id,
    observations.period,
    observations.value,
    series.unit,
    series.frequency,
    observations.vintage_date,
    {{ vintage_known_from('observations.vintage_date') }} as known_from,
    {{ vintage_known_to('observations.last_vintage_date') }} as known_to
from {{ ref('stg_fred__observations') }} as observations
left join {{ ref('int_macro_series') }} as series
    on
        series.series_id = observations.series_id
        and observations.vintage_date between series.vintage_date and series.last_vintage_date
