{{ restated(source('tiingo', 'tiingo_prices'), key=['ticker', 'date'], day='date') }}
union all
{{ restated(source('massive', 'massive_daily_prices'), key=['T', 'date'], day='date') }}
union all
{{ restated(source('ecb', 'ecb_fx_rates'), key=['Date'], day='Date') }}
union all
{{ restated(source('ecb', 'ecb_fx_rates_daily'), key=['Date'], day='Date') }}
union all
{{ restated(source('treasury', 'treasury_par_yields'), key=['Date'], day='Date') }}
