select
    release_id,
    date as release_date,
    known_from as loaded_at
from {{ current_rows(source('fred', 'fred_release_dates')) }} as raw
