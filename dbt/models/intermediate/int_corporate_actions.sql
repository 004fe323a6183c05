{{ config(materialized='table', indexes=[{'columns': ['security_id', 'ex_date']}]) }}

-- if Tiingo has a security under several tickers, take its newest series
select distinct on (securities.security_id, actions.ex_date)
    securities.security_id,
    actions.ticker,
    actions.ex_date,
    actions.dividend_cash,
    actions.split_to,
    actions.split_from,
    (actions.split_to / actions.split_from)::float8 as split_ratio,
    actions.currency
from {{ ref('stg_tiingo__actions') }} as actions
inner join {{ ref('int_securities') }} as securities
    on
        securities.ticker = actions.ticker
        and securities.valid_from <= actions.ex_date
        and securities.valid_to > actions.ex_date
where actions.dividend_cash > 0 or actions.split_to <> actions.split_from
order by securities.security_id, actions.ex_date, securities.last_session desc, securities.ticker
