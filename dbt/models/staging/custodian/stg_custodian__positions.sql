with reported as (
    select position_date, custodian, account, isin, quantity, price, market_value, currency, known_from, _load_id
    from {{ rows_known(source('custodian', 'custodian_positions')) }} as raw
    union all
    select position_date, custodian, account, isin, quantity, price, market_value, currency, known_from, _load_id
    from {{ rows_known(source('custodian', 'custodian_lots')) }} as raw
),

-- the file that each load is of, and when its newest version came
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

chosen as (
    select
        reported.*,
        loads.file,
        first_value(case when loads.is_by_day then loads.file end) over (
            partition by reported.custodian, reported.position_date order by loads.is_by_day desc, loads.file_known_at desc, loads.file
        ) as file_of_day,
        first_value(loads.file) over (
            partition by reported.position_date, reported.custodian, reported.account, reported.isin
            order by loads.is_by_day desc, loads.file_known_at desc, loads.file
        ) as file_of_position
    from reported
    inner join loads on loads.load_id = reported._load_id
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
from chosen
where file = coalesce(file_of_day, file_of_position)
group by position_date, custodian, account, isin
