{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_days('treasury_par_yields', 'curve_date') }}",
    indexes=[{'columns': ['curve_date'], 'unique': true}]
) }}

with curves as (
    select
        curve_date,
        max(yield_pct) filter (where tenor = '3M') as yield_3m,
        max(yield_pct) filter (where tenor = '2Y') as yield_2y,
        max(yield_pct) filter (where tenor = '5Y') as yield_5y,
        max(yield_pct) filter (where tenor = '10Y') as yield_10y,
        max(yield_pct) filter (where tenor = '30Y') as yield_30y,
        max(known_at) as known_at
    from {{ ref('fct_yield') }}
    {%- if changes_only() %}
    where {{ is_changed_day('treasury_par_yields', 'curve_date') }}
    {%- endif %}
    group by curve_date
)

select
    curve_date,
    ((yield_10y - yield_2y) * 100)::numeric(10, 2) as spread_2s10s_bp,
    ((yield_10y - yield_3m) * 100)::numeric(10, 2) as spread_3m10y_bp,
    ((yield_30y - yield_5y) * 100)::numeric(10, 2) as spread_5s30s_bp,
    known_at
from curves
