select
    type as rate_name,
    "effectiveDate" as rate_date,
    "percentRate" as rate_pct,
    "percentPercentile1" as percentile_1_pct,
    "percentPercentile25" as percentile_25_pct,
    "percentPercentile75" as percentile_75_pct,
    "percentPercentile99" as percentile_99_pct,
    "targetRateFrom" as target_from_pct,
    "targetRateTo" as target_to_pct,
    "volumeInBillions" as volume_usd_bn,
    known_from as loaded_at,
    closed_at
from {{ row_versions(source('nyfed', 'nyfed_rates')) }} as raw
