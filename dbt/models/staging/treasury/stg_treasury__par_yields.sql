with source as (
    select * from {{ current_rows(source('treasury', 'treasury_par_yields')) }} as raw
)

select
    source."Date" as curve_date,
    regexp_replace(cell.key, '^([0-9.]+) ([MY])[a-z]*$', '\1\2') as tenor,
    cell.value::numeric(8, 4) as yield_pct,
    source.known_from
from source
cross join lateral {{ unpivot('source', exclude=['Date']) }} as cell
where cell.value is not null
