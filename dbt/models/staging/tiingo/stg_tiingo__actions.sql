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

-- a row whose prices are bad is in quarantine: the dividend or split in it happened all the same
quarantined as (
    select
        substring(lake_partition from '^ticker=([^/]+)/') as ticker,
        {{ day_or_null('row_date') }} as ex_date,
        substring(raw_row from '"divCash": ?"([0-9]{1,8}(\.[0-9]{1,40})?)"')::numeric as dividend_cash,
        substring(raw_row from '"splitFactor": ?"([0-9]{1,9}(\.[0-9]{1,40})?)"')::numeric as split_factor,
        substring(raw_row from '"split_to": ?"([0-9]{1,18})"')::bigint as split_to,
        substring(raw_row from '"split_from": ?"([0-9]{1,18})"')::bigint as split_from,
        row_number,
        known_from
    from {{ ref('stg_lake__quarantine') }}
    where dataset = 'tiingo_prices'
),

actions as (
    select * from sent
    union all
    select * from quarantined where ex_date is not null and (dividend_cash <> 0 or split_factor <> 1)
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
