{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_days('ecb_fx_rates', 'rate_date') }}",
    indexes=[{'columns': ['quote_currency', 'rate_date'], 'unique': true}]
) }}

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
    {{ published_at('TARGET', 'rate_date') }} as known_at
from published
-- a new column of the ECB's that is no currency stays in the raw table, and a test warns of it
where
    quote_currency ~ '^[A-Z]{3}$'
    {%- if changes_only() %}
    and rate_date in (select touched.day from {{ ref('stg_lake__touched') }} as touched where touched.dataset = 'ecb_fx_rates')
    {%- endif %}
order by rate_date, base_currency, quote_currency, known_from desc
