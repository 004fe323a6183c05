-- Tiingo answers for the security that bears the ticker now, with its history under any: the ticker of its last session tells
with traded as (
    select
        ticker,
        currency,
        min(trade_date) as first_session,
        max(trade_date) as last_session
    from {{ ref('stg_tiingo__prices') }}
    group by ticker, currency
),

times_borne as (
    select ticker, count(*) as times
    from {{ ref('ticker_history') }}
    group by ticker
),

identified as (
    select
        traded.*,
        coalesce(history.security_id, traded.ticker || '.' || (coalesce(times_borne.times, 0) + 1)) as security_id
    from traded
    left join {{ ref('ticker_history') }} as history
        on
            history.ticker = traded.ticker
            and history.valid_from <= traded.last_session
            and history.valid_to > traded.last_session
    left join times_borne on times_borne.ticker = traded.ticker
),

-- the list of filers has no history: it knows the ticker that a security bears today
tickers_now as (
    select security_id, ticker as ticker_now
    from {{ ref('ticker_history') }}
    where valid_to = {{ end_of_time() }}
),

filers as (
    select distinct on (ticker) ticker, cik, name
    from {{ ref('stg_sec__filers') }}
    order by ticker, known_from desc, cik
)

select
    identified.ticker,
    identified.security_id,
    identified.currency,
    identified.first_session,
    identified.last_session,
    filers.name,
    filers.cik
from identified
left join tickers_now using (security_id)
left join filers on filers.ticker = coalesce(tickers_now.ticker_now, identified.ticker)
