-- a warning: which of the two is wrong is for people to say, and fct_close_difference has all that differ
{{ config(severity='warn') }}

-- two vendors saw the same closing auction: more than half a percent apart is a wrong day, ticker, split or scale
select
    prices.ticker,
    prices.trade_date,
    prices.close as close_tiingo,
    massive.close as close_massive
from {{ rows_to_test(ref('fct_price_daily')) }} as prices
inner join {{ ref('stg_massive__daily_prices') }} as massive using (ticker, trade_date)
where abs(massive.close / prices.close - 1) > 0.005
