with statements as (
    select
        account,
        currency,
        closing_date,
        statement_id,
        opening_date,
        created_at,
        sequence_number,
        opening_balance,
        closing_balance,
        known_from as known_at,
        closed_at as known_to
    from {{ row_versions(source('bank', 'bank_statement')) }} as raw
),

intervals as (
    {{ change_intervals(['statements'], ['account', 'currency', 'closing_date']) }}
),

-- the statements of a day that are known in an interval
known_statements as (
    select
        intervals.account,
        intervals.currency,
        intervals.closing_date,
        intervals.known_at,
        intervals.known_to,
        statements.statement_id,
        statements.opening_date,
        statements.created_at,
        statements.sequence_number,
        statements.opening_balance,
        statements.closing_balance
    from intervals
    inner join statements
        on
            statements.account = intervals.account
            and statements.currency = intervals.currency
            and statements.closing_date = intervals.closing_date
            and statements.known_at <= intervals.known_at
            and statements.known_to > intervals.known_at
),

-- how often a balance opens a statement of the day more often than it closes one: the chain of the day begins where that is positive
surpluses as (
    select
        statements.account,
        statements.currency,
        statements.closing_date,
        statements.known_at,
        ends.balance,
        sum(ends.step) as surplus
    from known_statements as statements
    cross join lateral (values (statements.opening_balance, 1), (statements.closing_balance, -1)) as ends (balance, step)
    group by statements.account, statements.currency, statements.closing_date, statements.known_at, ends.balance
),

chained as (
    select
        *,
        (account, currency, closing_date, known_at, opening_balance) in (
            select account, currency, closing_date, known_at, balance
            from surpluses
            where surplus > 0
        ) as is_first,
        (account, currency, closing_date, known_at, closing_balance) in (
            select account, currency, closing_date, known_at, balance
            from surpluses
            where surplus < 0
        ) as is_last
    from known_statements
)

-- a chain that ends with the balance with which it begins has no first one: then dates, creation and number say it, 9 before 10
{%- set first_of_day = "is_first desc, opening_date, coalesce(created_at, ''), length(statement_id), statement_id" %}
{%- set last_of_day = "is_last desc, opening_date desc, coalesce(created_at, '') desc, length(statement_id) desc, statement_id desc" %}
select
    account,
    currency,
    closing_date as balance_date,
    (array_agg(opening_balance order by {{ first_of_day }}))[1] as opening_balance,
    (array_agg(closing_balance order by {{ last_of_day }}))[1] as closing_balance,
    (array_agg(sequence_number order by {{ first_of_day }}))[1] as first_number,
    (array_agg(sequence_number order by {{ last_of_day }}))[1] as last_number,
    count(*)::integer as statement_count,
    known_at,
    least(known_to, {{ end_of_time() }} at time zone 'UTC') as known_to
from chained
group by account, currency, closing_date, known_at, known_to
