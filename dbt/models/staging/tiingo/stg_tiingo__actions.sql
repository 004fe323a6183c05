{%- set prices = source('tiingo', 'tiingo_prices') %}

with price_actions as (
    select
        ticker,
        date as ex_date,
        "divCash" as dividend_cash,
        "splitFactor" as split_factor,
        {{ optional_column(prices, 'split_to', 'bigint') }} as split_to,
        {{ optional_column(prices, 'split_from', 'bigint') }} as split_from,
        0 as row_number,
        known_from
    from {{ current_rows(prices) }} as raw
    where "divCash" <> 0 or "splitFactor" <> 1
),

all_actions as (
    select * from price_actions
    union all
    select * from {{ ref('stg_tiingo__actions_quarantined') }}
),

-- rows older than the extractor's split_to and split_from have the ratio only as a decimal
split_fractions as (
    select
        *,
        10::numeric ^ scale(nullif(split_factor, 0)) as denominator,
        split_factor * 10::numeric ^ scale(nullif(split_factor, 0)) as numerator
    from all_actions
)

-- one event a day; a valid row wins over quarantined ones
select distinct on (ticker, ex_date)
    ticker,
    ex_date,
    coalesce(dividend_cash, 0)::numeric(18, 10) as dividend_cash,
    coalesce(split_to, numerator / gcd(numerator, denominator), 1)::numeric(38, 0) as split_to,
    coalesce(split_from, denominator / gcd(numerator, denominator), 1)::numeric(38, 0) as split_from,
    'USD' as currency,
    known_from
from split_fractions
order by ticker, ex_date, row_number
