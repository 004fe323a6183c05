{{ config(severity='warn') }}

select
    security_id,
    trade_date,
    close_tiingo,
    close_massive
from {{ rows_to_test(ref('fct_close_difference')) }} as differences
where abs(difference) > 0.005
