select
    id as series_id,
    title,
    frequency,
    units as unit,
    seasonal_adjustment,
    observation_start as first_period,
    observation_end as last_period,
    last_updated::timestamptz as last_updated_at,
    realtime_start as vintage_date,
    realtime_end as last_vintage_date
from {{ current_rows(source('fred', 'fred_series')) }} as raw
