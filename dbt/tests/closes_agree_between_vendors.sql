-- a warning: which of the two is wrong is for people to say, and fct_close_difference has all that differ
{{ config(severity='warn') }}

-- two vendors saw the same closing auction: more than half a percent apart is a wrong day, ticker, split or scale
select
    security_id,
    trade_date,
    close_tiingo,
    close_massive
from {{ rows_to_test(ref('fct_close_difference')) }} as differences
where abs(difference) > 0.005
