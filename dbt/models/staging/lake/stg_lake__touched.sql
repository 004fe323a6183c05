{{ config(materialized='table') }}

select 'tiingo_prices' as dataset, ticker as subject, date as day, "divCash" <> 0 or "splitFactor" <> 1 or _is_closed as is_whole
from {{ rows_touched(source('tiingo', 'tiingo_prices')) }} as raw
union all
select 'tiingo_prices', substring("partition" from '^ticker=([^/]+)/'), null, true
from {{ rows_touched(source('lake', '_quarantine'), dataset='tiingo_prices') }} as raw
where dataset = 'tiingo_prices'
union all
select 'ecb_fx_rates', null, "Date", false from {{ rows_touched(source('ecb', 'ecb_fx_rates')) }} as raw
union all
select 'ecb_fx_rates', null, "Date", false from {{ rows_touched(source('ecb', 'ecb_fx_rates_daily')) }} as raw
union all
select 'treasury_par_yields', null, "Date", false from {{ rows_touched(source('treasury', 'treasury_par_yields')) }} as raw
union all
select 'sec_company_facts', cik::text, filed, false from {{ rows_touched(source('sec', 'sec_company_facts')) }} as raw
union all
select 'sec_filers', ticker, null, true from {{ rows_touched(source('sec', 'sec_filers')) }} as raw
