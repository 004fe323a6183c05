{{ config(indexes=[{'columns': ['security_id', 'valid_from'], 'unique': true}]) }}

with securities as (
    select distinct on (security_id) *
    from {{ ref('int_securities') }}
    order by security_id, last_session desc, ticker
)

select
    securities.security_id,
    coalesce(history.ticker, securities.ticker) as ticker,
    securities.name,
    securities.currency,
    securities.cik,
    coalesce(history.valid_from, securities.first_session) as valid_from,
    coalesce(history.valid_to, {{ end_of_time() }}) as valid_to
from securities
left join {{ ref('ticker_history') }} as history using (security_id)
