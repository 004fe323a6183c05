with statements as (
    select
        account,
        currency,
        closing_date,
        statement_id,
        opening_date,
        opening_balance,
        closing_balance,
        known_from as known_at,
        closed_at as known_to
    from {{ row_versions(source('bank', 'bank_statement')) }} as raw
),

changes as (
    select account, currency, closing_date, known_at
    from statements
    union
    select account, currency, closing_date, known_to
    from statements
),

intervals as (
    select
        account,
        currency,
        closing_date,
        known_at,
        lead(known_at) over (partition by account, currency, closing_date order by known_at) as known_to
    from changes
),

-- the statements of a day that are known in an interval; each opens with the balance with which the one before it closes
known_statements as (
    select
        intervals.account,
        intervals.currency,
        intervals.closing_date,
        intervals.known_at,
        intervals.known_to,
        statements.statement_id,
        statements.opening_date,
        statements.opening_balance,
        statements.closing_balance,
        exists (
            select from statements as later
            where
                later.account = statements.account
                and later.currency = statements.currency
                and later.closing_date = statements.closing_date
                and later.statement_id <> statements.statement_id
                and later.opening_balance = statements.closing_balance
                and later.known_at <= intervals.known_at
                and later.known_to > intervals.known_at
        ) as is_continued,
        exists (
            select from statements as earlier
            where
                earlier.account = statements.account
                and earlier.currency = statements.currency
                and earlier.closing_date = statements.closing_date
                and earlier.statement_id <> statements.statement_id
                and earlier.closing_balance = statements.opening_balance
                and earlier.known_at <= intervals.known_at
                and earlier.known_to > intervals.known_at
        ) as is_continuation
    from intervals
    inner join statements
        on
            statements.account = intervals.account
            and statements.currency = intervals.currency
            and statements.closing_date = intervals.closing_date
            and statements.known_at <= intervals.known_at
            and statements.known_to > intervals.known_at
    where intervals.known_to is not null
)

select
    account,
    currency,
    closing_date as balance_date,
    (array_agg(opening_balance order by is_continuation, opening_date, statement_id))[1] as opening_balance,
    (array_agg(closing_balance order by is_continued, opening_date desc, statement_id desc))[1] as closing_balance,
    count(*)::integer as statement_count,
    known_at,
    least(known_to, {{ end_of_time() }} at time zone 'UTC') as known_to
from known_statements
group by account, currency, closing_date, known_at, known_to
