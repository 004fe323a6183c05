select
    cik_str as cik,
    ticker,
    title as name,
    known_from
from {{ current_rows(source('sec', 'sec_filers')) }} as raw
