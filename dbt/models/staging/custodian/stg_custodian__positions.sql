with reported_positions as (
    select position_date, custodian, account, isin, quantity, price, market_value, currency, known_from, _load_id
    from {{ current_rows(source('custodian', 'custodian_positions')) }} as raw
    union all
    select position_date, custodian, account, isin, quantity, price, market_value, currency, known_from, _load_id
    from {{ current_rows(source('custodian', 'custodian_lots')) }} as raw
),

-- the file of each load, and when the newest version of the file was loaded
loads as (
    select
        load_id,
        dataset || '/' || lake_partition as file,
        lake_partition like 'custodian=%' as is_by_day,
        max(known_at) over (partition by dataset, lake_partition) as file_known_at
    from {{ ref('stg_lake__loads') }}
    {%- if var('as_of') %}
    where known_at <= {{ as_of_literal() }}
    {%- endif %}
),

ranked_positions as (
    select
        reported_positions.*,
        loads.file,
        first_value(case when loads.is_by_day then loads.file end) over (
            partition by reported_positions.custodian, reported_positions.position_date
            order by loads.is_by_day desc, loads.file_known_at desc, loads.file
        ) as newest_file_of_day,
        first_value(loads.file) over (
            partition by reported_positions.position_date, reported_positions.custodian, reported_positions.account, reported_positions.isin
            order by loads.is_by_day desc, loads.file_known_at desc, loads.file
        ) as newest_file_of_position
    from reported_positions
    inner join loads on loads.load_id = reported_positions._load_id
)

select
    position_date,
    custodian,
    account,
    isin,
    sum(quantity)::numeric(24, 6) as quantity,
    case when count(price) = count(*) and min(price) = max(price) then min(price) end as price,
    case when count(market_value) = count(*) and min(currency) = max(currency) then sum(market_value)::numeric(24, 4) end as market_value,
    case when min(currency) = max(currency) then min(currency) end as currency,
    count(*)::integer as lot_count,
    max(known_from) as known_from
from ranked_positions
where file = coalesce(newest_file_of_day, newest_file_of_position)
group by position_date, custodian, account, isin
