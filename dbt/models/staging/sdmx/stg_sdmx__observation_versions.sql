select
    agency,
    series_key,
    time_period,
    period_start,
    trim_scale(obs_value * 10::numeric ^ coalesce(unit_mult, 0)) as value,
    obs_status,
    unit_measure as unit,
    dimensions,
    attributes,
    known_from as loaded_at,
    closed_at
from {{ row_versions(source('sdmx', 'sdmx_observations')) }} as raw
