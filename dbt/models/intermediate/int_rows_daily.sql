{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_row_counts() }}",
    indexes=[{'columns': ['dataset', 'row_date'], 'unique': true}]
) }}

{%- set counted_rows = [
    ('tiingo_prices', 'XNYS', ref('stg_tiingo__prices'), 'trade_date'),
    ('massive_daily_prices', 'XNYS', ref('stg_massive__daily_prices'), 'trade_date'),
    ('ecb_fx_rates', 'TARGET', ref('stg_ecb__fx_rates'), 'rate_date'),
    ('treasury_par_yields', 'SIFMA', ref('stg_treasury__par_yields'), 'curve_date'),
] %}
{% for dataset, calendar, rows, day in counted_rows %}
select
    {{ quoted_text(dataset) }} as dataset,
    {{ quoted_text(calendar) }} as calendar,
    {{ day }} as row_date,
    count(*) as row_count
from {{ rows }}
{%- if changes_only() %}
where {{ in_changed_years(day, dataset) }} and {{ is_changed_day(dataset, day) }}
{%- endif %}
group by {{ day }}
{{ 'union all' if not loop.last }}
{%- endfor %}
