select
    dataset,
    "partition" as lake_partition,
    "commit" as lake_commit,
    row_number,
    substring(coalesce(raw_row ->> 'date', raw_row ->> 'Date', raw_row ->> 'filed') from '^\d{4}-[01]\d-[0-3]\d$') as row_date,
    reasons,
    raw_row::text as raw_row,
    known_from
from {{ rows_known(source('lake', '_quarantine')) }} as raw
