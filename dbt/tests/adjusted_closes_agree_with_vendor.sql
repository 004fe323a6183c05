-- Both factors are held against the last session of their year, so that actions after our data, and years the vendor
-- answered for at different times, do not show. Ten basis points tell a missed dividend from a rounding.
with factors as (
    select
        ticker,
        trade_date,
        total_return_factor / last_value(total_return_factor) over years as ours,
        (vendor_adj_close / close::float8) / last_value(vendor_adj_close / close::float8) over years as vendors
    from {{ rows_to_test(ref('int_prices_adjusted'), whole='year') }} as adjusted
    where close > 0 and vendor_adj_close > 0
    window years as (
        partition by ticker, extract(year from trade_date) order by trade_date
        rows between unbounded preceding and unbounded following
    )
)

select *
from factors
where abs(ours / vendors - 1) > 0.001
