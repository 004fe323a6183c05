{{ config(indexes=[{'columns': ['dataset', 'lake_partition', 'row_number'], 'unique': true}]) }}

select
    dataset,
    lake_partition,
    row_number,
    {{ truncate_text('reasons', 2000) }} as reasons,
    {{ truncate_text('raw_row', 10000) }} as raw_row,
    row_date,
    lake_commit,
    known_from
from {{ ref('stg_lake__quarantine') }}
