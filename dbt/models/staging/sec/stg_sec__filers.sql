select
    cik_str as cik,
    ticker,
    title as name,
    known_from
from {{ rows_known(source('sec', 'sec_filers')) }} as raw
