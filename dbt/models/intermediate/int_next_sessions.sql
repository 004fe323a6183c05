{{ config(materialized='table', indexes=[{'columns': ['day'], 'unique': true}]) }}

with sessions as (
    select
        session_date,
        lag(session_date) over (order by session_date) as previous_session
    from {{ ref('dim_calendar') }}
    where calendar = 'XNYS'
)

select
    sessions.previous_session + days.number as day,
    sessions.session_date as next_session
from sessions
cross join lateral generate_series(0, sessions.session_date - sessions.previous_session - 1) as days (number)
