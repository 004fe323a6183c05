{%- set is_showable = is_showable_dataset('dataset') -%}
with quarantine as (
    select
        *,
        {{ sanitise_json('raw_row') }} as row_json
    from {{ current_rows(source('lake', '_quarantine')) }} as raw
),

dated_rows as (
    select
        *,
        coalesce(row_json::json ->> 'date', row_json::json ->> 'Date', row_json::json ->> 'filed') as date_text
    from quarantine
)

select
    dataset,
    "partition" as lake_partition,
    "commit" as lake_commit,
    row_number,
    case when {{ is_showable }} then {{ valid_date_text('date_text') }} end as row_date,
    case
        when {{ is_showable }} or reasons like 'values withheld: %' then reasons
        else 'values withheld: these reasons hold some; replay the partition for reasons without'
    end as reasons,
    case when {{ is_showable }} then row_json end as raw_row,
    known_from
from dated_rows
