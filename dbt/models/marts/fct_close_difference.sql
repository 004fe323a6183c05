{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_differences() }}",
    indexes=[{'columns': ['security_id', 'trade_date'], 'unique': true}]
) }}

-- Massive uses the ticker of the day, Tiingo the current one, each in its own spelling: join them by the permanent id
with tiingo_closes as (
    select
        prices.security_id,
        prices.ticker,
        prices.trade_date,
        prices.close
    from {{ ref('fct_price_daily') }} as prices
    {{ join_changed_tickers('prices') }}
    where prices.trade_date in (select days.row_date from {{ ref('int_rows_daily') }} as days where days.dataset = 'massive_daily_prices')
    {%- if changes_only() %}
    union
    select
        prices.security_id,
        prices.ticker,
        prices.trade_date,
        prices.close
    from {{ ref('fct_price_daily') }} as prices
    where
        {{ is_changed_day('massive_daily_prices', 'prices.trade_date') }}
        and prices.trade_date in (select days.row_date from {{ ref('int_rows_daily') }} as days where days.dataset = 'massive_daily_prices')
    {%- endif %}
),

massive_closes as (
    select
        spellings.security_id,
        prices.ticker,
        prices.trade_date,
        prices.close
    from {{ ref('stg_massive__daily_prices') }} as prices
    inner join {{ ref('dim_security_ticker') }} as spellings
        on
            spellings.source = 'massive'
            and spellings.ticker = prices.ticker
            and spellings.valid_from <= prices.trade_date
            and spellings.valid_to > prices.trade_date
    {%- if changes_only() %}
    where
        prices.trade_date >= (select min(tiingo_closes.trade_date) from tiingo_closes)
        and prices.trade_date in (select tiingo_closes.trade_date from tiingo_closes)
    {%- endif %}
)

-- Massive may have a security under two spellings on one day: show the close that differs more
select distinct on (tiingo_closes.security_id, tiingo_closes.trade_date)
    tiingo_closes.security_id,
    tiingo_closes.trade_date,
    tiingo_closes.ticker as ticker_tiingo,
    massive_closes.ticker as ticker_massive,
    tiingo_closes.close as close_tiingo,
    massive_closes.close as close_massive,
    {{ round_stable('massive_closes.close::float8 / tiingo_closes.close::float8 - 1', 12) }} as difference
from tiingo_closes
left join massive_closes using (security_id, trade_date)
where massive_closes.close is distinct from tiingo_closes.close
order by tiingo_closes.security_id, tiingo_closes.trade_date, abs(massive_closes.close - tiingo_closes.close) desc, massive_closes.ticker
