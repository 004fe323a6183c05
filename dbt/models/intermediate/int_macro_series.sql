-- each description until the next one begins, so that a day never has two
select
    series_id,
    title,
    frequency,
    unit,
    seasonal_adjustment,
    vintage_date,
    least(
        last_vintage_date,
        lead(vintage_date, 1, {{ end_of_time() }} + 1) over (partition by series_id order by vintage_date) - 1
    ) as last_vintage_date
from {{ ref('stg_fred__series') }}
