{{ config(severity='warn') }}
-- the index rounds to 8 decimals, so the two differ by less than 2e-8
select indices.value_date, indices.index_value, indices.previous_index, rates.rate_date, rates.rate_pct
from (
    select
        value_date,
        index_value,
        lag(index_value) over (order by value_date) as previous_index,
        lag(value_date) over (order by value_date) as previous_date
    from {{ ref('fct_sofr_average') }}
    where known_to = {{ end_of_time() }} at time zone 'UTC'
) as indices
inner join {{ ref('fct_reference_rate') }} as rates
    on
        rates.rate_name = 'SOFR'
        and rates.rate_date = indices.previous_date
        and rates.known_to = {{ end_of_time() }} at time zone 'UTC'
where
    indices.value_date - indices.previous_date <= 5
    and abs(
        indices.index_value - indices.previous_index * (1 + rates.rate_pct / 100 * (indices.value_date - indices.previous_date) / 360)
    ) > 2e-8
