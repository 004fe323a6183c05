-- Tiingo's tickers are in the names of the lake's partitions: one lookup a partition, however many prices and commits it has
with recursive partitions (lake_partition) as (
    select min(loads.lake_partition) from {{ ref('stg_lake__loads') }} as loads where loads.dataset = 'tiingo_prices'
    union all
    select (
        select min(loads.lake_partition)
        from {{ ref('stg_lake__loads') }} as loads
        where loads.dataset = 'tiingo_prices' and loads.lake_partition > partitions.lake_partition
    )
    from partitions
    where partitions.lake_partition is not null
),

tickers as (
    select
        ticker,
        {{ normalise_ticker('ticker') }} as symbol
    from (select distinct substring(lake_partition from '^ticker=([^/]+)/') collate "C" as ticker from partitions) as all_tickers
    where ticker is not null
),

-- the first part of an id is a symbol, too: an id that nobody stated begins with it
stated_symbols as (
    select
        security_id,
        {{ normalise_ticker('ticker') }} as symbol
    from {{ ref('ticker_history') }}
    union
    select
        security_id,
        substring(security_id from '^(.*)\.') as symbol
    from {{ ref('ticker_history') }}
),

-- a symbol may have several securities, and a security several symbols
linked_symbols (symbol, linked_symbol) as (
    select
        symbol,
        symbol
    from tickers
    union
    select
        linked_symbols.symbol,
        others.symbol
    from linked_symbols
    inner join stated_symbols as owners on owners.symbol = linked_symbols.linked_symbol
    inner join stated_symbols as others using (security_id)
)

select
    tickers.ticker,
    linked_tickers.ticker as linked_ticker
from tickers
inner join linked_symbols using (symbol)
inner join tickers as linked_tickers on linked_tickers.symbol = linked_symbols.linked_symbol
where linked_tickers.ticker <> tickers.ticker
