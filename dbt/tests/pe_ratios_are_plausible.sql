{{ config(severity='warn') }}

select
    ticker,
    trade_date,
    close,
    ttm_eps_diluted,
    pe_ratio
from {{ rows_to_test(ref('fct_valuation_daily')) }} as valuation
where pe_ratio < 1 or pe_ratio > 10000
