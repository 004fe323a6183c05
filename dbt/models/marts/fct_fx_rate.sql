{{ config(indexes=[{'columns': ['quote_currency', 'rate_date'], 'unique': true}]) }}

with published as (
    select * from {{ ref('stg_ecb__fx_rates') }}
    union all
    select * from {{ ref('stg_ecb__fx_rates_daily') }}
)

-- the daily file says a day first, the history file repeats it: the newest word stands
select distinct on (rate_date, base_currency, quote_currency)
    rate_date,
    base_currency,
    quote_currency,
    rate,
    {{ published_at('rate_date', "time '16:00'", 'Europe/Berlin') }} as known_at
from published
order by rate_date, base_currency, quote_currency, known_from desc
