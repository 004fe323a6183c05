{{ config(post_hook="{{ drop_renamed('view', 'stg_lake__cells_restated') }}") }}

{{ restated_cells(source('tiingo', 'tiingo_prices'), key=['ticker', 'date'], day='date') }}
union all
{{ restated_cells(source('massive', 'massive_daily_prices'), key=['T', 'date'], day='date') }}
union all
{{ restated_cells(source('ecb', 'ecb_fx_rates'), key=['Date'], day='Date') }}
union all
{{ restated_cells(source('ecb', 'ecb_fx_rates_daily'), key=['Date'], day='Date') }}
union all
{{ restated_cells(source('fred', 'fred_observations'), key=['series_id', 'date', 'realtime_start'], day='date') }}
union all
{{ restated_cells(source('nyfed', 'nyfed_rates'), key=['type', 'effectiveDate'], day='effectiveDate') }}
union all
{{ restated_cells(source('nyfed', 'nyfed_sofr_averages'), key=['type', 'effectiveDate'], day='effectiveDate') }}
union all
{{ restated_cells(source('fiscaldata', 'fiscaldata_debt'), key=['record_date'], day='record_date') }}
union all
{{ restated_cells(source('fiscaldata', 'fiscaldata_auctions'), key=['cusip', 'auction_date'], day='auction_date') }}
union all
{{ restated_cells(source('sdmx', 'sdmx_observations'), key=['agency', 'series_key', 'time_period'], day='period_start') }}
union all
{{ restated_cells(source('sec', 'sec_13f_holdings'), key=['accession', 'line'], day='period') }}
union all
{{ restated_cells(source('sec', 'sec_insider_entries'), key=['accession', 'entry'], day='filed') }}
union all
{{ restated_cells(source('treasury', 'treasury_par_yields'), key=['Date'], day='Date') }}
