select
    "effectiveDate" as value_date,
    average30day as average_30d_pct,
    average90day as average_90d_pct,
    average180day as average_180d_pct,
    index as index_value,
    known_from as loaded_at,
    closed_at
from {{ row_versions(source('nyfed', 'nyfed_sofr_averages')) }} as raw
