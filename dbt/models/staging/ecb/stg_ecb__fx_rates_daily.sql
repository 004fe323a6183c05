with source as (
    select * from {{ rows_known(source('ecb', 'ecb_fx_rates_daily')) }} as raw
)

select
    source."Date" as rate_date,
    'EUR' as base_currency,
    cell.key as quote_currency,
    cell.value::numeric(18, 8) as rate,
    source.known_from
from source
cross join lateral {{ cells('source', identified_by=['Date']) }} as cell
where cell.value is not null
