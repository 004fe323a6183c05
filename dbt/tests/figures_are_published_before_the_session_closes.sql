select 'fx rate' as figure, prices.ticker, prices.trade_date
from {{ rows_to_test(ref('fct_price_daily')) }} as prices
inner join {{ ref('fct_fx_rate') }} as rates
    on rates.quote_currency = prices.currency and rates.rate_date = prices.fx_date
where rates.known_at > prices.known_at
union all
select 'earnings', valuation.ticker, valuation.trade_date
from {{ rows_to_test(ref('fct_valuation_daily')) }} as valuation
where valuation.ttm_period_end >= valuation.trade_date
