{{ config(indexes=[{'columns': ['tenor', 'curve_date'], 'unique': true}]) }}

select
    curve_date,
    tenor,
    yield_pct
from {{ ref('stg_treasury__par_yields') }}
