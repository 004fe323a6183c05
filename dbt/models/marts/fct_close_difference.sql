{{ config(indexes=[{'columns': ['security_id', 'trade_date'], 'unique': true}]) }}

-- Massive uses the ticker of the day, Tiingo the current one, each in its own spelling: join them by the permanent id
with massive_closes as (
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
),

tiingo_closes as (
    select
        security_id,
        ticker,
        trade_date,
        close
    from {{ ref('fct_price_daily') }}
    where trade_date in (select days.trade_date from {{ ref('stg_massive__daily_prices') }} as days)
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
