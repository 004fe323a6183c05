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
-- a new column of the Treasury's that is no tenor stays in the raw table, and a test warns of it
where
    tenor ~ '^[0-9.]+[MY]$'
    {%- if changes_only() %}
    and curve_date in (select touched.day from {{ ref('stg_lake__touched') }} as touched where touched.dataset = 'treasury_par_yields')
    {%- endif %}
