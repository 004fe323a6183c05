{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_days('treasury_par_yields', 'curve_date') }}",
    indexes=[{'columns': ['tenor', 'curve_date'], 'unique': true}]
) }}

select
    curve_date,
    tenor,
    yield_pct,
    {{ published_at('SIFMA', 'curve_date') }} as known_at
from {{ ref('stg_treasury__par_yields') }}
{%- if changes_only() %}
where curve_date in (select touched.day from {{ ref('stg_lake__touched') }} as touched where touched.dataset = 'treasury_par_yields')
{%- endif %}
