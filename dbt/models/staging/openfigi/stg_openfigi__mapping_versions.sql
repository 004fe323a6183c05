select
    id_type,
    id_value,
    exch_code,
    figi,
    "compositeFIGI" as composite_figi,
    "shareClassFIGI" as share_class_figi,
    name,
    ticker,
    "exchCode" as venue,
    known_from as known_at,
    closed_at
from {{ row_versions(source('openfigi', 'openfigi_mappings')) }} as raw
