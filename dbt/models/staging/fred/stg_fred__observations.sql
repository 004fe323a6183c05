select
    series_id,
    date as period,
    value,
    realtime_start as vintage_date,
    realtime_end as last_vintage_date
from {{ current_rows(source('fred', 'fred_observations')) }} as raw
