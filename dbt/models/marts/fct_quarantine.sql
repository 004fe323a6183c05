{{ config(indexes=[{'columns': ['dataset', 'lake_partition', 'row_number', 'reasons'], 'unique': true}]) }}

select
    dataset,
    lake_partition,
    row_number,
    reasons,
    raw_row,
    row_date,
    lake_commit,
    known_from
from {{ ref('stg_lake__quarantine') }}
