{{ config(materialized='table', post_hook="{{ drop_renamed('table', 'stg_lake__touched') }}") }}

select 'tiingo_prices' as dataset, ticker as subject, date as day, "divCash" <> 0 or "splitFactor" <> 1 or _is_closed as is_whole
from {{ changed_rows(source('tiingo', 'tiingo_prices')) }} as raw
union all
select 'tiingo_prices', substring("partition" from '^ticker=([^/]+)/'), null, true
from {{ changed_rows(source('lake', '_quarantine'), dataset='tiingo_prices') }} as raw
where dataset = 'tiingo_prices'
union all
select distinct 'massive_daily_prices', null, date, false from {{ changed_rows(source('massive', 'massive_daily_prices')) }} as raw
union all
select 'ecb_fx_rates', null, "Date", false from {{ changed_rows(source('ecb', 'ecb_fx_rates')) }} as raw
union all
select 'ecb_fx_rates', null, "Date", false from {{ changed_rows(source('ecb', 'ecb_fx_rates_daily')) }} as raw
union all
select 'treasury_par_yields', null, "Date", false from {{ changed_rows(source('treasury', 'treasury_par_yields')) }} as raw
union all
select 'sec_company_facts', cik::text, filed, false from {{ changed_rows(source('sec', 'sec_company_facts')) }} as raw
union all
select distinct 'fred_observations', null, date, false from {{ changed_rows(source('fred', 'fred_observations')) }} as raw
union all
select distinct 'nyfed_rates', null, "effectiveDate", false from {{ changed_rows(source('nyfed', 'nyfed_rates')) }} as raw
union all
select distinct 'nyfed_sofr_averages', null, "effectiveDate", false from {{ changed_rows(source('nyfed', 'nyfed_sofr_averages')) }} as raw
union all
select distinct 'fiscaldata_debt', null, record_date, false from {{ changed_rows(source('fiscaldata', 'fiscaldata_debt')) }} as raw
union all
select distinct 'fiscaldata_auctions', null, auction_date, false from {{ changed_rows(source('fiscaldata', 'fiscaldata_auctions')) }} as raw
union all
select distinct 'sdmx_observations', null, period_start, false from {{ changed_rows(source('sdmx', 'sdmx_observations')) }} as raw
union all
select distinct 'sec_13f_holdings', null, filed, false from {{ changed_rows(source('sec', 'sec_13f_holdings')) }} as raw
union all
select distinct 'sec_insider_entries', null, filed, false from {{ changed_rows(source('sec', 'sec_insider_entries')) }} as raw
union all
select 'sec_filers', ticker, null, true from {{ changed_rows(source('sec', 'sec_filers')) }} as raw
