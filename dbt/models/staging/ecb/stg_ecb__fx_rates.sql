with source as (
    select * from {{ current_rows(source('ecb', 'ecb_fx_rates')) }} as raw
)

select
    source."Date" as rate_date,
    'EUR' as base_currency,
    cell.key as quote_currency,
    cell.value::numeric(18, 8) as rate,
    source.known_from
from source
cross join lateral {{ unpivot('source', exclude=['Date']) }} as cell
where cell.value is not null
