{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_ticker_years() }}",
    indexes=[{'columns': ['ticker', 'price_year'], 'unique': true}]
) }}

-- include withdrawn prices, so that ids do not change when a vendor withdraws some
select
    ticker,
    extract(year from trade_date)::integer as price_year,
    min(currency) as currency,
    min(trade_date) as first_session,
    max(trade_date) as last_session,
    min(trade_date) filter (where is_current) as first_current_session,
    max(trade_date) filter (where is_current) as last_current_session,
    min(known_at) as first_known_at,
    max(greatest(known_at, nullif(closed_at, 'infinity'))) as last_known_at
from {{ ref('stg_tiingo__price_versions') }}
{%- if changes_only() %}
where
    {{ in_changed_years('trade_date', 'tiingo_prices') }}
    and (ticker, extract(year from trade_date)) in ({{ changed_ticker_years() }})
{%- endif %}
group by ticker, extract(year from trade_date)::integer
