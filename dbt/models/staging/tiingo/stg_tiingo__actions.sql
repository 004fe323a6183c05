{%- set prices = source('tiingo', 'tiingo_prices') %}

with sent as (
    select
        ticker,
        date as ex_date,
        "divCash" as dividend_cash,
        "splitFactor" as split_factor,
        {{ optional_column(prices, 'split_to', 'bigint') }} as split_to,
        {{ optional_column(prices, 'split_from', 'bigint') }} as split_from,
        0 as row_number,
        known_from
    from {{ rows_known(prices) }} as raw
    where "divCash" <> 0 or "splitFactor" <> 1
),

actions as (
    select * from sent
    union all
    select * from {{ ref('stg_tiingo__actions_quarantined') }}
),

-- the ratio as it was written: rows of before the extractor made fractions have no other
written as (
    select
        *,
        10::numeric ^ scale(nullif(split_factor, 0)) as unit,
        split_factor * 10::numeric ^ scale(nullif(split_factor, 0)) as units
    from actions
)

-- a day that came twice is one event; a good row goes before those in quarantine
select distinct on (ticker, ex_date)
    ticker,
    ex_date,
    coalesce(dividend_cash, 0)::numeric(18, 10) as dividend_cash,
    coalesce(split_to, units / gcd(units, unit), 1)::numeric(38, 0) as split_to,
    coalesce(split_from, unit / gcd(units, unit), 1)::numeric(38, 0) as split_from,
    'USD' as currency,
    known_from
from written
order by ticker, ex_date, row_number
