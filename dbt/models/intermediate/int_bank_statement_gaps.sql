-- a day of which a statement came late: until then, the day before it preceded the next one
with recursive days as (
    select
        account,
        currency,
        balance_date,
        min(known_at) as arrived_at,
        lag(balance_date) over (partition by account, currency order by balance_date) as previous_date
    from {{ ref('stg_bank__balance_versions') }}
    group by account, currency, balance_date
),

-- each day with the day that precedes it, until a day between them arrives
predecessors as (
    select
        account,
        currency,
        balance_date,
        arrived_at,
        previous_date,
        'infinity'::timestamptz as until
    from days
    where previous_date is not null
    union all
    select
        later.account,
        later.currency,
        later.balance_date,
        later.arrived_at,
        late.previous_date,
        least(later.until, late.arrived_at)
    from predecessors as later
    inner join days as late
        on
            later.account = late.account
            and later.currency = late.currency
            and later.previous_date = late.balance_date
    where late.arrived_at > later.arrived_at and late.previous_date is not null
),

neighbours as (
    select
        predecessors.account,
        predecessors.currency,
        predecessors.previous_date,
        predecessors.balance_date,
        before.closing_balance as previous_closing_balance,
        after.opening_balance,
        after.opening_balance - before.closing_balance as missing_amount,
        after.first_number - before.last_number as step,
        greatest(before.known_at, after.known_at) as known_at,
        least(before.known_to, after.known_to, predecessors.until) as known_to
    from predecessors
    inner join {{ ref('stg_bank__balance_versions') }} as before
        on
            predecessors.account = before.account
            and predecessors.currency = before.currency
            and predecessors.previous_date = before.balance_date
    inner join {{ ref('stg_bank__balance_versions') }} as after
        on
            predecessors.account = after.account
            and predecessors.currency = after.currency
            and predecessors.balance_date = after.balance_date
),

-- numbers that grow as the days do are days of the year, as some banks write them, and no count; at the end of a year, numbers start again
counted as (
    select
        *,
        case when step between 2 and 100 and step <> balance_date - previous_date then step - 1 end as missing_statements
    from neighbours
)

select
    account,
    currency,
    previous_date,
    previous_closing_balance,
    balance_date,
    opening_balance,
    missing_amount,
    missing_statements,
    known_at,
    known_to
from counted
where known_at < known_to and (missing_amount <> 0 or missing_statements is not null)
