select
    release_id,
    date as release_date
from {{ current_rows(source('fred', 'fred_release_dates')) }} as raw
