{{ config(indexes=[{'columns': ['source', 'ticker', 'valid_from'], 'unique': true}, {'columns': ['security_id']}]) }}

with securities as (
    select * from {{ ref('int_securities') }}
),

-- which security had a symbol when: as ticker_history states, else as Tiingo's prices show
stated_tickers as (
    select
        security_id,
        {{ normalise_ticker('ticker') }} as symbol,
        valid_from,
        valid_to
    from {{ ref('ticker_history') }}
),

observed_tickers as (
    select distinct on (symbol, securities.valid_from)
        security_id,
        symbol,
        first_session as valid_from,
        least(valid_to, {{ end_of_time() }}) as valid_to
    from securities
    where symbol not in (select stated_tickers.symbol from stated_tickers)
    order by symbol, securities.valid_from, ticker
),

market_tickers as (
    select
        security_id,
        symbol,
        valid_from,
        least(valid_to, {{ end_of_time() }}) as valid_to
    from stated_tickers
    where security_id in (select securities.security_id from securities)
    union all
    select * from observed_tickers
),

massive_tickers as materialized (
    select
        ticker,
        {{ normalise_ticker('ticker') }} as symbol
    from (select distinct ticker from {{ ref('stg_massive__daily_prices') }}) as tickers
),

-- SEC lists a security from our first copy of the list that includes it
sec_tickers as (
    select
        securities.security_id,
        versions.ticker,
        versions.symbol,
        min((versions.listed_from at time zone 'UTC')::date) as valid_from,
        least(max((versions.listed_to at time zone 'UTC')::date), {{ end_of_time() }}) as valid_to
    from (select distinct security_id, listed_symbol, cik from securities where is_listed) as securities
    inner join {{ ref('stg_sec__filer_versions') }} as versions on versions.symbol = securities.listed_symbol
    group by securities.security_id, versions.ticker, versions.symbol
)

select
    security_id,
    'tiingo' as source,
    ticker,
    symbol,
    first_session as valid_from,
    least(valid_to, {{ end_of_time() }}) as valid_to
from securities
union all
select
    market_tickers.security_id,
    'massive',
    massive_tickers.ticker,
    massive_tickers.symbol,
    market_tickers.valid_from,
    market_tickers.valid_to
from massive_tickers
inner join market_tickers using (symbol)
union all
select
    security_id,
    'sec',
    ticker,
    symbol,
    valid_from,
    valid_to
from sec_tickers
