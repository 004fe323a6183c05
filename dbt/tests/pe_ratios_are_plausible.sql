-- a warning: what is out of bounds is nearly always a figure of another share, unit or currency, but it may be a company in ruins
{{ config(severity='warn') }}

select
    ticker,
    trade_date,
    close,
    ttm_eps_diluted,
    pe_ratio
from {{ rows_to_test(ref('fct_valuation_daily')) }} as valuation
where pe_ratio < 1 or pe_ratio > 10000
