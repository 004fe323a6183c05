{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_touched() }}",
    indexes=[{'columns': ['ticker', 'trade_date']}]
) }}

-- a price on a day without a session is no price: vendors have sent some on holidays
with sessions as (
    select
        prices.*,
        calendar.published_at as known_at,
        {{ 'touched.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        lag(prices.close) over (partition by prices.ticker order by prices.trade_date) as previous_close
    from {{ ref('stg_tiingo__prices') }} as prices
    inner join {{ ref('dim_calendar') }} as calendar
        on calendar.calendar = 'XNYS' and calendar.session_date = prices.trade_date
    {{ join_touched('prices', 'previous_date') }}
),

-- what each ex-date does to every earlier price; a dividend that eats the whole price is bad data, and a test finds it
actions as (
    select
        *,
        -ln(split_ratio::float8) as log_split,
        case
            when dividend_cash > 0 and dividend_cash < previous_close
                then ln(1 - dividend_cash::float8 / previous_close::float8)
            else 0
        end as log_dividend
    from sessions
)

select
    ticker,
    trade_date,
    open,
    high,
    low,
    close,
    volume,
    currency,
    dividend_cash,
    split_ratio,
    vendor_adj_close,
    known_at,
    {{ settled('exp(coalesce(sum(log_split) over later, 0))') }} as split_factor,
    {{ settled('exp(coalesce(sum(log_split + log_dividend) over later, 0))') }} as total_return_factor
from actions
where trade_date >= from_date
window later as (
    partition by ticker order by trade_date desc rows between unbounded preceding and 1 preceding
)
