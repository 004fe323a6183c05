{{ config(indexes=[{'columns': ['source', 'ticker', 'valid_from'], 'unique': true}, {'columns': ['security_id']}]) }}

with securities as (
    select * from {{ ref('int_securities') }}
),

-- who bore a symbol when: what people state where they state anything of it, else what Tiingo's prices say
stated as (
    select
        security_id,
        {{ normal_ticker('ticker') }} as symbol,
        valid_from,
        valid_to
    from {{ ref('ticker_history') }}
),

by_prices as (
    select distinct on (symbol, securities.valid_from)
        security_id,
        symbol,
        first_session as valid_from,
        least(valid_to, {{ end_of_time() }}) as valid_to
    from securities
    where symbol not in (select stated.symbol from stated)
    order by symbol, securities.valid_from, ticker
),

borne as (
    select
        security_id,
        symbol,
        valid_from,
        least(valid_to, {{ end_of_time() }}) as valid_to
    from stated
    where security_id in (select securities.security_id from securities)
    union all
    select * from by_prices
),

massive as (
    select
        ticker,
        {{ normal_ticker('ticker') }} as symbol
    from (select distinct ticker from {{ ref('stg_massive__daily_prices') }}) as tickers
),

-- SEC lists a security from our first copy of its list that has it
listed as (
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
    borne.security_id,
    'massive',
    massive.ticker,
    massive.symbol,
    borne.valid_from,
    borne.valid_to
from massive
inner join borne using (symbol)
union all
select
    security_id,
    'sec',
    ticker,
    symbol,
    valid_from,
    valid_to
from listed
