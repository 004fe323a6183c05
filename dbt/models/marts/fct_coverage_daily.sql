{{ config(indexes=[{'columns': ['dataset', 'coverage_date'], 'unique': true}]) }}

with row_counts as (
    select * from {{ ref('int_rows_daily') }}
),

spans as (
    select
        dataset,
        calendar,
        min(row_date) as first_date,
        max(row_date) as last_date
    from row_counts
    group by dataset, calendar
),

-- every session between a dataset's first and last day, and days with rows but no session
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
        row_counts.dataset,
        row_counts.calendar,
        row_counts.row_date,
        false
    from row_counts
    where not exists (
        select from {{ ref('dim_calendar') }} as sessions
        where sessions.calendar = row_counts.calendar and sessions.session_date = row_counts.row_date
    )
),

quarantine_counts as (
    select
        dataset,
        {{ date_or_null('row_date') }} as row_date,
        count(*) as quarantined_count,
        count(*) filter (where reasons like '%repeats the key%') as duplicate_count
    from {{ ref('stg_lake__quarantine') }}
    where {{ date_or_null('row_date') }} is not null
    group by dataset, {{ date_or_null('row_date') }}
),

issue_counts as (
    select
        'tiingo_prices' as dataset,
        trade_date,
        count(distinct security_id) as issue_count
    from {{ ref('fct_price_issue') }}
    group by trade_date
),

daily_counts as (
    select
        days.*,
        coalesce(row_counts.row_count, 0) as row_count,
        coalesce(quarantine_counts.quarantined_count, 0) as quarantined_count,
        coalesce(quarantine_counts.duplicate_count, 0) as duplicate_count,
        coalesce(issue_counts.issue_count, 0) as issue_count,
        max(row_counts.row_count) over (
            partition by days.dataset order by days.coverage_date rows between 5 preceding and 1 preceding
        ) as usual_count
    from days
    left join row_counts on row_counts.dataset = days.dataset and row_counts.row_date = days.coverage_date
    left join quarantine_counts on quarantine_counts.dataset = days.dataset and quarantine_counts.row_date = days.coverage_date
    left join issue_counts on issue_counts.dataset = days.dataset and issue_counts.trade_date = days.coverage_date
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
from daily_counts
