with row_counts as (
    select 'tiingo_prices' as dataset, trade_date as row_date, count(*) as row_count from {{ ref('stg_tiingo__prices') }} group by trade_date
    union all
    select 'massive_daily_prices', trade_date, count(*) from {{ ref('stg_massive__daily_prices') }} group by trade_date
    union all
    select 'ecb_fx_rates', rate_date, count(*) from {{ ref('stg_ecb__fx_rates') }} group by rate_date
    union all
    select 'treasury_par_yields', curve_date, count(*) from {{ ref('stg_treasury__par_yields') }} group by curve_date
),

calendars (dataset, calendar) as (
    values
    ('tiingo_prices', 'XNYS'), ('massive_daily_prices', 'XNYS'), ('ecb_fx_rates', 'TARGET'), ('treasury_par_yields', 'SIFMA')
)

select
    row_counts.dataset,
    calendars.calendar,
    row_counts.row_date,
    row_counts.row_count
from row_counts
inner join calendars using (dataset)
