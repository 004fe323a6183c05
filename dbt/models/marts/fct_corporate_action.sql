{{ config(indexes=[{'columns': ['security_id', 'ex_date', 'kind'], 'unique': true}]) }}

with actions as (
    select
        actions.*,
        session.session_date as effective_date,
        session.published_at as known_at
    from {{ ref('int_corporate_actions') }} as actions
    left join lateral (
        select
            calendar.session_date,
            calendar.published_at
        from {{ ref('dim_calendar') }} as calendar
        where calendar.calendar = 'XNYS' and calendar.session_date >= actions.ex_date
        order by calendar.session_date
        limit 1
    ) as session on true
)

select
    security_id,
    ticker,
    ex_date,
    effective_date,
    'split' as kind,
    split_to,
    split_from,
    null::numeric(18, 10) as cash_amount,
    null::text as currency,
    'tiingo' as source,
    known_at
from actions
where split_to <> split_from
union all
select
    security_id,
    ticker,
    ex_date,
    effective_date,
    'dividend',
    null,
    null,
    dividend_cash,
    currency,
    'tiingo',
    known_at
from actions
where dividend_cash > 0
