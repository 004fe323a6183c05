{{ config(materialized='table', indexes=[{'columns': ['ticker', 'valid_from']}, {'columns': ['security_id']}]) }}

-- an answer of Tiingo fills a whole year of a ticker, with the prices of whoever bore the ticker when it was given; prices that were
-- withdrawn tell securities apart as well, so that an id does not depend on them
with years as materialized (
    select
        ticker,
        extract(year from trade_date)::integer as price_year,
        min(currency) as currency,
        min(trade_date) as first_session,
        max(trade_date) as last_session,
        min(trade_date) filter (where is_current) as first_current_session,
        max(trade_date) filter (where is_current) as last_current_session
    from {{ ref('stg_tiingo__price_versions') }}
    group by ticker, extract(year from trade_date)::integer
),

named as (
    select
        *,
        {{ normal_ticker('ticker') }} as symbol,
        lag(last_session) over (partition by ticker order by price_year) as previous_session
    from years
),

history as (
    select
        security_id,
        {{ normal_ticker('ticker') }} as symbol,
        valid_from,
        valid_to
    from {{ ref('ticker_history') }}
),

listings as (
    select
        versions.symbol,
        coalesce(successors.successor_cik, versions.cik) as cik,
        versions.name,
        versions.listed_from,
        versions.listed_to,
        (versions.listed_from at time zone 'America/New_York')::date as first_day,
        (versions.listed_to at time zone 'America/New_York')::date as day_after_last
    from {{ ref('stg_sec__filer_versions') }} as versions
    left join {{ ref('issuer_history') }} as successors on successors.cik = versions.cik
),

gaps as (
    select
        named.*,
        (
            select count(*)
            from {{ ref('dim_calendar') }} as sessions
            where
                sessions.calendar = 'XNYS'
                and sessions.session_date > named.previous_session
                and sessions.session_date < named.first_session
        ) as sessions_missed
    from named
    where named.first_session - named.previous_session > {{ var('gap_sessions') }}
),

-- what tells of a gap whether one security was suspended or another took the ticker
evidence as (
    select
        gaps.ticker,
        gaps.price_year,
        gaps.sessions_missed,
        {%- for session, name in [('previous_session', 'cik_before'), ('first_session', 'cik_after')] %}
        (
            select min(listings.cik)
            from listings
            where
                listings.symbol = gaps.symbol
                and listings.first_day <= gaps.{{ session }}
                and listings.day_after_last > gaps.{{ session }}
        ) as {{ name }},
        {%- endfor %}
        before.vendor_adj_close / nullif(before.close, 0)::float8 as vendor_factor,
        after.vendor_adj_close / nullif(after.close, 0)::float8 / nullif(after.split_ratio, 0)::float8
        * (1 - after.dividend_cash::float8 / nullif(before.close, 0)::float8) as factor_of_one_security
    from gaps
    left join {{ ref('stg_tiingo__prices') }} as before on before.ticker = gaps.ticker and before.trade_date = gaps.previous_session
    left join {{ ref('stg_tiingo__prices') }} as after on after.ticker = gaps.ticker and after.trade_date = gaps.first_session
),

-- who bore the ticker: by the statements of people where there are any for it, else another after each gap with another issuer
borne as (
    select
        named.*,
        coalesce(
            (
                select history.security_id
                from history
                where
                    history.symbol = named.symbol
                    and history.valid_from <= named.last_session
                    and history.valid_to > named.last_session
                limit 1
            ),
            (  -- Tiingo gives a security its history before it took the ticker
                select history.security_id
                from history
                where history.symbol = named.symbol and history.valid_from > named.last_session
                order by history.valid_from
                limit 1
            )
        ) as stated_id,
        (select count(*) from history where history.symbol = named.symbol) as times_stated,
        evidence.sessions_missed,
        coalesce(
            case
                when evidence.cik_before is not null and evidence.cik_after is not null then evidence.cik_before <> evidence.cik_after
                when
                    abs(evidence.factor_of_one_security - 1) > 0.01
                    and abs(evidence.vendor_factor / nullif(evidence.factor_of_one_security, 0) - 1) < 0.001
                    then false
                else evidence.sessions_missed > {{ var('reuse_gap_sessions') }}
            end,
            false
        ) as is_another
    from named
    left join evidence using (ticker, price_year)
),

identified as (
    select
        *,
        coalesce(
            stated_id,
            symbol || '.' || times_stated + 1
            + sum(is_another::integer) filter (where stated_id is null) over (partition by ticker order by price_year)
        ) as security_id
    from borne
),

marked as (
    select
        *,
        security_id is distinct from lag(security_id) over (partition by ticker order by price_year) as is_first_year
    from identified
),

numbered as (
    select
        *,
        count(*) filter (where is_first_year) over (partition by ticker order by price_year) as span
    from marked
),

spans as (
    select
        ticker,
        symbol,
        security_id,
        stated_id is not null as is_stated,
        min(currency) as currency,
        min(price_year) as first_year,
        min(first_session) as first_session,
        max(last_session) as last_session,
        min(first_current_session) as first_current_session,
        max(last_current_session) as last_current_session,
        max(sessions_missed) filter (where is_first_year) as sessions_missed,
        max(price_year) = max(max(price_year)) over (partition by ticker) as is_newest
    from numbered
    group by ticker, symbol, security_id, stated_id, span
),

-- the symbol under which SEC lists the security now: none where another bears it, or nobody does
listed_as as (
    select
        spans.*,
        coalesce(now_borne.symbol, spans.symbol) as listed_symbol,
        case when spans.is_stated then now_borne.symbol is not null else spans.is_newest end as is_listed_now
    from spans
    left join history as now_borne on now_borne.security_id = spans.security_id and now_borne.valid_to >= {{ end_of_time() }}
),

-- the list begins with our first copy of it: prices from before have the first issuer that it names for a ticker still borne
issuers as (
    select distinct on (listed_as.ticker, listed_as.first_year)
        listed_as.ticker,
        listed_as.first_year,
        listings.symbol,
        listings.cik
    from listed_as
    inner join listings on listings.symbol = listed_as.listed_symbol
    where
        listings.day_after_last > listed_as.last_session
        and (listed_as.is_listed_now or listings.first_day <= listed_as.last_session)
    order by listed_as.ticker, listed_as.first_year, listings.listed_from, listings.cik
),

newest_listings as (
    select distinct on (issuers.ticker, issuers.first_year)
        issuers.ticker,
        issuers.first_year,
        issuers.cik,
        listings.name,
        listings.listed_to as listed_until
    from issuers
    inner join listings on listings.symbol = issuers.symbol and listings.cik = issuers.cik
    order by issuers.ticker, issuers.first_year, listings.listed_to desc, listings.listed_from desc
),

issuer_counts as (
    select
        symbol as listed_symbol,
        count(distinct cik) as issuer_count
    from listings
    group by symbol
),

issued as (
    select
        listed_as.*,
        newest_listings.cik,
        newest_listings.name,
        newest_listings.listed_until,
        coalesce(issuer_counts.issuer_count, 0) as issuer_count
    from listed_as
    left join newest_listings using (ticker, first_year)
    left join issuer_counts using (listed_symbol)
),

-- all symbols of these issuers that are listed together with the security, itself among them
siblings as (
    select distinct
        issued.ticker,
        issued.first_year,
        listings.symbol
    from issued
    inner join listings
        on
            listings.cik = issued.cik
            and listings.listed_to >= issued.listed_until
            and listings.listed_from < issued.listed_until
),

sibling_kinds as (
    select
        siblings.*,
        {{ security_kind(
            'siblings.symbol',
            'exists (
                select from siblings as base
                where (base.ticker, base.first_year, base.symbol) = (siblings.ticker, siblings.first_year, left(siblings.symbol, 4))
            )'
        ) }} as kind
    from siblings
),

families as (
    select
        ticker,
        first_year,
        bool_or(kind in ('adr', 'foreign')) as has_foreign_listing,
        (array_agg(symbol order by length(symbol), symbol) filter (where kind = 'plain'))[1] as shortest_symbol,
        array_agg(symbol) filter (where kind = 'plain') as plain_symbols
    from sibling_kinds
    group by ticker, first_year
),

judged as (
    select
        issued.*,
        families.has_foreign_listing,
        families.shortest_symbol,
        (select bool_and(starts_with(plain.symbol, families.shortest_symbol)) from unnest(families.plain_symbols) as plain (symbol))
            as is_family,
        {{ security_kind('issued.listed_symbol', 'left(issued.listed_symbol, 4) = any(families.plain_symbols)') }} as kind
    from issued
    left join families using (ticker, first_year)
),

spanned as (
    select
        judged.security_id,
        judged.ticker,
        judged.symbol,
        judged.listed_symbol,
        judged.cik,
        judged.name,
        judged.currency,
        coalesce(
            terms.security_type,
            case
                when judged.kind in ('plain', 'foreign', 'adr') and judged.name ~* '\m(ETF|ETN|FUND)\M' then 'fund'
                when judged.kind = 'foreign' then 'common'
                when judged.kind <> 'plain' then judged.kind
                when judged.listed_symbol = judged.shortest_symbol and judged.is_family and not judged.has_foreign_listing then 'common'
            end,
            'unknown'
        ) as security_type,
        coalesce(
            terms.share_class,
            case
                when judged.kind in ('preferred', 'common', 'warrant')
                    then nullif(substring(judged.listed_symbol from '-(?:P|WT)?([A-Z]*)$'), '')
            end
        ) as share_class,
        {{ fraction('terms.adr_ratio') }} as adr_ratio,
        {{ fraction('terms.per_share_ratio') }} as per_share_ratio,
        judged.is_newest,
        judged.is_listed_now and judged.cik is not null as is_listed,
        judged.is_stated,
        judged.issuer_count,
        judged.sessions_missed,
        min(judged.ticker) over one_security <> max(judged.ticker) over one_security as has_several_tickers,
        judged.is_stated
        or count(*) over one_ticker > 1
        or min(judged.ticker) over one_security <> max(judged.ticker) over one_security
        or judged.issuer_count > 1 as may_change,
        judged.first_current_session as first_session,
        judged.last_current_session as last_session,
        case when judged.first_year > min(judged.first_year) over spans then make_date(judged.first_year, 1, 1) else '-infinity' end as valid_from,
        lead(make_date(judged.first_year, 1, 1), 1, {{ end_of_time() }}) over spans as valid_to
    from judged
    left join {{ ref('security_terms') }} as terms using (security_id)
    window
        one_ticker as (partition by judged.ticker),
        one_security as (partition by judged.security_id),
        spans as (partition by judged.ticker order by judged.first_year)
)

select * from spanned where first_session is not null
