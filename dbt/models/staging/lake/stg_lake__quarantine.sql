{%- set shown = values_are_shown('dataset') -%}
select
    dataset,
    "partition" as lake_partition,
    "commit" as lake_commit,
    row_number,
    case
        when {{ shown }}
            then substring(coalesce(raw_row ->> 'date', raw_row ->> 'Date', raw_row ->> 'filed') from '^\d{4}-[01]\d-[0-3]\d$')
    end as row_date,
    case
        when {{ shown }} or reasons like 'values withheld: %' then reasons
        else 'values withheld: these reasons hold some; replay the partition for reasons without'
    end as reasons,
    case when {{ shown }} then raw_row::text end as raw_row,
    known_from
from {{ rows_known(source('lake', '_quarantine')) }} as raw
