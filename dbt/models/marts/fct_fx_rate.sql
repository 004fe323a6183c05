{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_days('ecb_fx_rates', 'rate_date') }}",
    indexes=[{'columns': ['quote_currency', 'rate_date'], 'unique': true}]
) }}

with published_rates as (
    select * from {{ ref('stg_ecb__fx_rates') }}
    union all
    select * from {{ ref('stg_ecb__fx_rates_daily') }}
)

-- the history file repeats a day of the daily file: take the value that was known last
select distinct on (rate_date, base_currency, quote_currency)
    rate_date,
    base_currency,
    quote_currency,
    rate,
    {{ published_at('TARGET', 'rate_date') }} as known_at
from published_rates
-- a new ECB column that is no currency stays in the raw table, and a test warns about it
where
    quote_currency ~ '^[A-Z]{3}$'
    {%- if changes_only() %}
    and {{ is_changed_day('ecb_fx_rates', 'rate_date') }}
    {%- endif %}
order by rate_date, base_currency, quote_currency, known_from desc
