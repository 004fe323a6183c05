{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

-- Postgres remembers the rate of each day and currency, so this is one lookup a day
select
    prices.security_id,
    prices.ticker,
    prices.trade_date,
    prices.open,
    prices.high,
    prices.low,
    prices.close,
    prices.volume,
    prices.currency,
    prices.dividend_cash,
    prices.split_ratio,
    prices.sessions_missed,
    prices.split_factor,
    prices.total_return_factor,
    {{ round_stable('prices.close::float8 * prices.total_return_factor') }} as adj_close,
    {{ round_stable('prices.close::float8 / euro_rates.fx_rate::float8') }} as close_eur,
    euro_rates.fx_rate,
    euro_rates.fx_date,
    prices.known_at
from {{ ref('int_prices_adjusted') }} as prices
{{ join_changed_tickers('prices') }}
left join lateral (
    select
        rates.rate as fx_rate,
        rates.rate_date as fx_date
    from {{ ref('fct_fx_rate') }} as rates
    where
        rates.base_currency = 'EUR'
        and rates.quote_currency = prices.currency
        and rates.rate_date between prices.trade_date - 5 and prices.trade_date
    order by rates.rate_date desc
    limit 1
) as euro_rates on true
