{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_days('treasury_par_yields', 'curve_date') }}",
    indexes=[{'columns': ['tenor', 'curve_date'], 'unique': true}]
) }}

select
    curve_date,
    tenor,
    yield_pct,
    {{ published_at('SIFMA', 'curve_date') }} as known_at
from {{ ref('stg_treasury__par_yields') }}
-- a new Treasury column that is no tenor stays in the raw table, and a test warns about it
where
    tenor ~ '^[0-9.]+[MY]$'
    {%- if changes_only() %}
    and {{ is_changed_day('treasury_par_yields', 'curve_date') }}
    {%- endif %}
