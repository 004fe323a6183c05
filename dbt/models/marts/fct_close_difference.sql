{{ config(indexes=[{'columns': ['security_id', 'trade_date'], 'unique': true}]) }}

-- Massive names a security as it was called on the day, Tiingo by the ticker it bears now, each in its own spelling: they meet by the
-- permanent id
with massive as (
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

tiingo as (
    select
        security_id,
        ticker,
        trade_date,
        close
    from {{ ref('fct_price_daily') }}
    where trade_date in (select days.trade_date from {{ ref('stg_massive__daily_prices') }} as days)
)

-- Massive may have one security under two spellings on one day: the close that is farther off is shown
select distinct on (tiingo.security_id, tiingo.trade_date)
    tiingo.security_id,
    tiingo.trade_date,
    tiingo.ticker as ticker_tiingo,
    massive.ticker as ticker_massive,
    tiingo.close as close_tiingo,
    massive.close as close_massive,
    {{ settled('massive.close::float8 / tiingo.close::float8 - 1', 12) }} as difference
from tiingo
left join massive using (security_id, trade_date)
where massive.close is distinct from tiingo.close
order by tiingo.security_id, tiingo.trade_date, abs(massive.close - tiingo.close) desc, massive.ticker
