{#- a view, because it reads the clock; never published as a file -#}
{{ config(materialized='view') }}

with dataset_loads as (
    select
        dataset,
        max(known_at) as last_known_at,
        count(distinct lake_partition) as partition_count,
        count(*) as commit_count
    from {{ ref('stg_lake__loads') }}
    group by dataset
),

last_days as (
    select
        dataset,
        calendar,
        max(row_date) as last_date
    from {{ ref('int_rows_daily') }}
    group by dataset, calendar
    union all
    select
        'sec_company_facts' as dataset,
        null as calendar,
        max(filed_date) as last_date
    from {{ ref('stg_sec__company_facts') }}
    union all
    select
        'sec_filings' as dataset,
        null as calendar,
        max(filed_date) as last_date
    from {{ ref('stg_sec__filings') }}
    union all
    select
        'fred_observations' as dataset,
        null as calendar,
        max(vintage_date) as last_date
    from {{ ref('stg_fred__observations') }}
    union all
    select
        'nyfed_rates' as dataset,
        null as calendar,
        max(rate_date) as last_date
    from {{ ref('fct_reference_rate') }}
    union all
    select
        'nyfed_sofr_averages' as dataset,
        null as calendar,
        max(value_date) as last_date
    from {{ ref('fct_sofr_average') }}
    union all
    select
        'fiscaldata_debt' as dataset,
        null as calendar,
        max(debt_date) as last_date
    from {{ ref('fct_public_debt') }}
    union all
    select
        'fiscaldata_auctions' as dataset,
        null as calendar,
        max(auction_date) as last_date
    from {{ ref('fct_treasury_auction') }}
    union all
    select
        'sec_13f_holdings' as dataset,
        null as calendar,
        max(period) as last_date
    from {{ ref('fct_13f_holding') }}
    union all
    select
        'sec_insider_entries' as dataset,
        null as calendar,
        max(filed_date) as last_date
    from {{ ref('fct_insider_transaction') }}
    union all
    select
        'sdmx_observations' as dataset,
        null as calendar,
        max(period_start) as last_date
    from {{ ref('stg_sdmx__observation_versions') }}
    union all
    select
        'gleif_files' as dataset,
        null as calendar,
        (max(content_date) at time zone 'UTC')::date as last_date
    from {{ ref('stg_gleif__files') }}
)

select
    dataset_loads.dataset,
    last_days.last_date,
    dataset_loads.last_known_at,
    case
        when last_days.calendar is not null
            then (
                select count(*)
                from {{ ref('dim_calendar') }} as sessions
                where
                    sessions.calendar = last_days.calendar
                    and sessions.session_date > last_days.last_date
                    and sessions.published_at < now()
            )
    end as sessions_behind,
    dataset_loads.partition_count,
    dataset_loads.commit_count,
    latencies.latency_days,
    greatest(
        (now() at time zone 'UTC')::date
        - coalesce(last_days.last_date, (dataset_loads.last_known_at at time zone 'UTC')::date)
        - latencies.latency_days,
        0
    ) as days_late
from dataset_loads
left join last_days using (dataset)
left join {{ dataset_latencies() }} as latencies (dataset, latency_days) using (dataset)
