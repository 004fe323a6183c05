{%- set shown = values_are_shown('dataset') -%}
with quarantined as (
    select
        *,
        {{ readable_json('raw_row') }} as readable_row
    from {{ rows_known(source('lake', '_quarantine')) }} as raw
),

dated as (
    select
        *,
        coalesce(readable_row::json ->> 'date', readable_row::json ->> 'Date', readable_row::json ->> 'filed') as found_date
    from quarantined
)

select
    dataset,
    "partition" as lake_partition,
    "commit" as lake_commit,
    row_number,
    case when {{ shown }} then {{ iso_day('found_date') }} end as row_date,
    case
        when {{ shown }} or reasons like 'values withheld: %' then reasons
        else 'values withheld: these reasons hold some; replay the partition for reasons without'
    end as reasons,
    case when {{ shown }} then readable_row end as raw_row,
    known_from
from dated
