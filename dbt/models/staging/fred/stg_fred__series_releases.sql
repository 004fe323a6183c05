select
    series_id,
    id as release_id,
    name as release_name,
    realtime_start as vintage_date
from {{ current_rows(source('fred', 'fred_series_releases')) }} as raw
