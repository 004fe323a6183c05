select
    cik_str as cik,
    ticker,
    {{ normalise_ticker('ticker') }} as symbol,
    title as name,
    known_from as listed_from,
    closed_at as listed_to
from {{ row_versions(source('sec', 'sec_filers')) }} as raw
