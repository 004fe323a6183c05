{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_price_actions() }}"
) }}

{%- set prices = source('tiingo', 'tiingo_prices') %}

select
    ticker,
    date as ex_date,
    "divCash" as dividend_cash,
    "splitFactor" as split_factor,
    {{ optional_column(prices, 'split_to', 'bigint') }} as split_to,
    {{ optional_column(prices, 'split_from', 'bigint') }} as split_from,
    known_from
from {{ current_rows(prices) }} as raw
where
    ("divCash" <> 0 or "splitFactor" <> 1)
    {%- if changes_only() %}
    and {{ in_changed_years('date', 'tiingo_prices') }}
    and (ticker, date) in (
        select changed.subject, changed.day from {{ ref('stg_lake__changed_rows') }} as changed where changed.dataset = 'tiingo_prices'
    )
    {%- endif %}
