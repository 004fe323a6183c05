{{ config(indexes=[{'columns': ['security_id', 'trade_date'], 'unique': true}]) }}

-- Massive names a security as it was called on the day, Tiingo by the ticker it bears now: they meet by the permanent id
with massive as (
    select
        coalesce(history.security_id, prices.ticker || '.1') as security_id,
        prices.ticker,
        prices.trade_date,
        prices.close
    from {{ ref('stg_massive__daily_prices') }} as prices
    left join {{ ref('ticker_history') }} as history
        on
            history.ticker = prices.ticker
            and history.valid_from <= prices.trade_date
            and history.valid_to > prices.trade_date
    where history.security_id is not null or prices.ticker not in (select borne.ticker from {{ ref('ticker_history') }} as borne)
),

tiingo as (
    select
        securities.security_id,
        prices.ticker,
        prices.trade_date,
        prices.close
    from {{ ref('fct_price_daily') }} as prices
    inner join {{ ref('int_securities') }} as securities
        on
            securities.ticker = prices.ticker
            and securities.valid_from <= prices.trade_date
            and securities.valid_to > prices.trade_date
    where prices.trade_date in (select trade_date from massive)
)

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
order by tiingo.security_id, tiingo.trade_date, tiingo.ticker
