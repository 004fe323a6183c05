{{ config(indexes=[{'columns': ['tenor', 'curve_date'], 'unique': true}]) }}

select
    curve_date,
    tenor,
    yield_pct,
    {{ published_at('curve_date', "time '18:00'", 'America/New_York') }} as known_at
from {{ ref('stg_treasury__par_yields') }}
