-- as of a moment, the actions of each ticker are found by themselves, but those in quarantine once for all
with quarantined_actions as materialized (
    select * from {{ ref('stg_tiingo__actions_quarantined') }}
),

all_actions as (
    select
        ticker,
        ex_date,
        dividend_cash,
        split_factor,
        split_to,
        split_from,
        0 as row_number,
        known_from
    from {{ ref('stg_tiingo__price_actions') }}
    union all
    select * from quarantined_actions
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
    {{ price_currency() }} as currency,
    known_from
from split_fractions
order by ticker, ex_date, row_number
