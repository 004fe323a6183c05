{#- a view, because it looks at the clock: it is asked, never published as a file -#}
{{ config(materialized='view') }}

with loaded as (
    select
        dataset,
        max(known_at) as last_known_at,
        count(distinct lake_partition) as partition_count,
        count(*) as commit_count
    from {{ ref('stg_lake__loads') }}
    group by dataset
),

reached as (
    select
        dataset,
        calendar,
        max(row_date) as last_date
    from {{ ref('int_rows_daily') }}
    group by dataset, calendar
)

select
    loaded.dataset,
    reached.last_date,
    loaded.last_known_at,
    case
        when reached.last_date is not null
            then (
                select count(*)
                from {{ ref('dim_calendar') }} as sessions
                where
                    sessions.calendar = reached.calendar
                    and sessions.session_date > reached.last_date
                    and sessions.published_at < now()
            )
    end as sessions_behind,
    loaded.partition_count,
    loaded.commit_count
from loaded
left join reached using (dataset)
