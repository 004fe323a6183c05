{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

with prices as (
    select adjusted.*
    from {{ ref('int_prices_adjusted') }} as adjusted
    {{ join_changed_tickers('adjusted') }}
),

trade_days as (
    select distinct trade_date, currency from prices
),

euro_rates as materialized (
    select
        trade_days.trade_date,
        trade_days.currency,
        latest.rate as fx_rate,
        latest.rate_date as fx_date
    from trade_days
    cross join lateral (
        select
            rates.rate,
            rates.rate_date
        from {{ ref('fct_fx_rate') }} as rates
        where
            rates.base_currency = 'EUR'
            and rates.quote_currency = trade_days.currency
            and rates.rate_date between trade_days.trade_date - 5 and trade_days.trade_date
        order by rates.rate_date desc
        limit 1
    ) as latest
)

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
from prices
left join euro_rates using (trade_date, currency)
