{{ config(indexes=[{'columns': ['dataset', 'coverage_date'], 'unique': true}]) }}

with counted as (
    select * from {{ ref('int_rows_daily') }}
),

spans as (
    select
        dataset,
        calendar,
        min(row_date) as first_date,
        max(row_date) as last_date
    from counted
    group by dataset, calendar
),

-- every session between a dataset's first and last day, and the days with rows that are none
days as (
    select
        spans.dataset,
        spans.calendar,
        sessions.session_date as coverage_date,
        true as is_session
    from spans
    inner join {{ ref('dim_calendar') }} as sessions
        on sessions.calendar = spans.calendar and sessions.session_date between spans.first_date and spans.last_date
    union all
    select
        counted.dataset,
        counted.calendar,
        counted.row_date,
        false
    from counted
    where not exists (
        select from {{ ref('dim_calendar') }} as sessions
        where sessions.calendar = counted.calendar and sessions.session_date = counted.row_date
    )
),

bad as (
    select
        dataset,
        {{ day_or_null('row_date') }} as row_date,
        count(*) as quarantined_count,
        count(*) filter (where reasons like '%repeats the key%') as duplicate_count
    from {{ ref('stg_lake__quarantine') }}
    where {{ day_or_null('row_date') }} is not null
    group by dataset, {{ day_or_null('row_date') }}
),

doubtful as (
    select
        'tiingo_prices' as dataset,
        trade_date,
        count(distinct security_id) as issue_count
    from {{ ref('fct_price_issue') }}
    group by trade_date
),

with_usual as (
    select
        days.*,
        coalesce(counted.row_count, 0) as row_count,
        coalesce(bad.quarantined_count, 0) as quarantined_count,
        coalesce(bad.duplicate_count, 0) as duplicate_count,
        coalesce(doubtful.issue_count, 0) as issue_count,
        max(counted.row_count) over (
            partition by days.dataset order by days.coverage_date rows between 5 preceding and 1 preceding
        ) as usual_count
    from days
    left join counted on counted.dataset = days.dataset and counted.row_date = days.coverage_date
    left join bad on bad.dataset = days.dataset and bad.row_date = days.coverage_date
    left join doubtful on doubtful.dataset = days.dataset and doubtful.trade_date = days.coverage_date
)

select
    dataset,
    coverage_date,
    calendar,
    case
        when not is_session then 'no_session'
        when row_count = 0 then 'missing'
        when row_count < 0.6 * usual_count then 'partial'
        else 'whole'
    end as status,
    row_count,
    usual_count,
    quarantined_count,
    duplicate_count,
    issue_count
from with_usual
