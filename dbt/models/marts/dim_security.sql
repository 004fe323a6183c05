{{ config(indexes=[{'columns': ['security_id'], 'unique': true}]) }}

with traded as (
    select
        ticker,
        currency,
        min(trade_date) as valid_from
    from {{ ref('stg_tiingo__prices') }}
    group by ticker, currency
),

filers as (
    select distinct on (ticker) ticker, cik, name
    from {{ ref('stg_sec__filers') }}
    order by ticker, known_from desc, cik
)

select
    traded.ticker || '.1' as security_id,
    traded.ticker,
    filers.name,
    traded.currency,
    filers.cik,
    traded.valid_from,
    'infinity'::date as valid_to
from traded
left join filers using (ticker)
