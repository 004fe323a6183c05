{{ config(materialized='table', indexes=[{'columns': ['ticker', 'valid_from']}, {'columns': ['security_id']}]) }}

-- a response of Tiingo covers a whole year of a ticker, with the prices of the security that had the ticker at the time
with symbol_years as (
    select
        *,
        {{ normalise_ticker('ticker') }} as symbol,
        lag(last_session) over (partition by ticker order by price_year) as previous_session
    from {{ ref('int_ticker_years') }}
),

stated_tickers as (
    select
        security_id,
        {{ normalise_ticker('ticker') }} as symbol,
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
        symbol_years.*,
        (
            select count(*)
            from {{ ref('dim_calendar') }} as sessions
            where
                sessions.calendar = 'XNYS'
                and sessions.session_date > symbol_years.previous_session
                and sessions.session_date < symbol_years.first_session
        ) as sessions_missed
    from symbol_years
    where symbol_years.first_session - symbol_years.previous_session > {{ var('gap_sessions') }}
),

-- evidence on whether a gap is a suspension or another security took the ticker
gap_evidence as (
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
        last_price.vendor_adj_close / nullif(last_price.close, 0)::float8 as vendor_factor,
        next_price.vendor_adj_close / nullif(next_price.close, 0)::float8 / nullif(next_price.split_ratio, 0)::float8
        * (1 - next_price.dividend_cash::float8 / nullif(last_price.close, 0)::float8) as expected_factor
    from gaps
    -- gaps are few: a limit keeps Postgres from a join with all prices
    {%- for session, name in [('previous_session', 'last_price'), ('first_session', 'next_price')] %}
    left join lateral (
        select close, dividend_cash, split_ratio, vendor_adj_close
        from {{ ref('stg_tiingo__prices') }} as prices
        where prices.ticker = gaps.ticker and prices.trade_date = gaps.{{ session }}
        limit 1
    ) as {{ name }} on true
    {%- endfor %}
),

-- the security that owned the ticker: as ticker_history states, else a new one after each gap that the evidence calls a change
ticker_owners as (
    select
        symbol_years.*,
        coalesce(
            (
                select stated_tickers.security_id
                from stated_tickers
                where
                    stated_tickers.symbol = symbol_years.symbol
                    and stated_tickers.valid_from <= symbol_years.last_session
                    and stated_tickers.valid_to > symbol_years.last_session
                limit 1
            ),
            (  -- Tiingo's series includes the security's history under its earlier tickers
                select stated_tickers.security_id
                from stated_tickers
                where stated_tickers.symbol = symbol_years.symbol and stated_tickers.valid_from > symbol_years.last_session
                order by stated_tickers.valid_from
                limit 1
            )
        ) as stated_id,
        (select count(*) from stated_tickers where stated_tickers.symbol = symbol_years.symbol) as stated_count,
        gap_evidence.sessions_missed,
        coalesce(
            case
                when gap_evidence.cik_before is not null and gap_evidence.cik_after is not null
                    then gap_evidence.cik_before <> gap_evidence.cik_after
                when
                    abs(gap_evidence.expected_factor - 1) > 0.01
                    and abs(gap_evidence.vendor_factor / nullif(gap_evidence.expected_factor, 0) - 1) < 0.001
                    then false
                else gap_evidence.sessions_missed > {{ var('reuse_gap_sessions') }}
            end,
            false
        ) as is_new_security
    from symbol_years
    left join gap_evidence using (ticker, price_year)
),

identified_years as (
    select
        *,
        coalesce(
            stated_id,
            symbol || '.' || stated_count + 1
            + sum(is_new_security::integer) filter (where stated_id is null) over (partition by ticker order by price_year)
        ) as security_id
    from ticker_owners
),

span_starts as (
    select
        *,
        security_id is distinct from lag(security_id) over (partition by ticker order by price_year) as is_first_year
    from identified_years
),

numbered_years as (
    select
        *,
        count(*) filter (where is_first_year) over (partition by ticker order by price_year) as span
    from span_starts
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
        min(first_known_at) as first_known_at,
        max(sessions_missed) filter (where is_first_year) as sessions_missed,
        max(price_year) = max(max(price_year)) over (partition by ticker) as is_newest
    from numbered_years
    group by ticker, symbol, security_id, stated_id, span
),

-- the symbol under which SEC lists the security now; is_listed_now is false if another security has it, or none
listed_spans as (
    select
        spans.*,
        coalesce(current_ticker.symbol, spans.symbol) as listed_symbol,
        case when spans.is_stated then current_ticker.symbol is not null else spans.is_newest end as is_listed_now
    from spans
    left join stated_tickers as current_ticker
        on current_ticker.security_id = spans.security_id and current_ticker.valid_to >= {{ end_of_time() }}
),

-- SEC's list begins with our first copy of it: earlier prices get the first issuer that it names, if the ticker is still in use
issuers as (
    select distinct on (listed_spans.ticker, listed_spans.first_year)
        listed_spans.ticker,
        listed_spans.first_year,
        listings.symbol,
        listings.cik,
        listings.listed_from as issuer_known_at
    from listed_spans
    inner join listings on listings.symbol = listed_spans.listed_symbol
    where
        listings.day_after_last > listed_spans.last_session
        and (listed_spans.is_listed_now or listings.first_day <= listed_spans.last_session)
    order by listed_spans.ticker, listed_spans.first_year, listings.listed_from, listings.cik
),

newest_listings as (
    select distinct on (issuers.ticker, issuers.first_year)
        issuers.ticker,
        issuers.first_year,
        issuers.cik,
        issuers.issuer_known_at,
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

issuer_spans as (
    select
        listed_spans.*,
        newest_listings.cik,
        newest_listings.issuer_known_at,
        newest_listings.name,
        newest_listings.listed_until,
        coalesce(issuer_counts.issuer_count, 0) as issuer_count
    from listed_spans
    left join newest_listings using (ticker, first_year)
    left join issuer_counts using (listed_symbol)
),

-- all symbols that the issuer has listed together with the security, its own included
siblings as (
    select distinct
        issuer_spans.ticker,
        issuer_spans.first_year,
        listings.symbol
    from issuer_spans
    inner join listings
        on
            listings.cik = issuer_spans.cik
            and listings.listed_to >= issuer_spans.listed_until
            and listings.listed_from < issuer_spans.listed_until
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

classified_spans as (
    select
        issuer_spans.*,
        families.has_foreign_listing,
        families.shortest_symbol,
        (select bool_and(starts_with(plain.symbol, families.shortest_symbol)) from unnest(families.plain_symbols) as plain (symbol))
            as is_family,
        {{ security_kind('issuer_spans.listed_symbol', 'left(issuer_spans.listed_symbol, 4) = any(families.plain_symbols)') }} as kind
    from issuer_spans
    left join families using (ticker, first_year)
),

securities as (
    select
        classified_spans.security_id,
        classified_spans.ticker,
        classified_spans.symbol,
        classified_spans.listed_symbol,
        classified_spans.cik,
        classified_spans.name,
        classified_spans.currency,
        coalesce(
            terms.security_type,
            case
                when classified_spans.kind in ('plain', 'foreign', 'adr') and classified_spans.name ~* '\m(ETF|ETN|FUND)\M' then 'fund'
                when classified_spans.kind = 'foreign' then 'common'
                when classified_spans.kind <> 'plain' then classified_spans.kind
                when
                    classified_spans.listed_symbol = classified_spans.shortest_symbol
                    and classified_spans.is_family
                    and not classified_spans.has_foreign_listing
                    then 'common'
            end,
            'unknown'
        ) as security_type,
        coalesce(
            terms.share_class,
            case
                when classified_spans.kind in ('preferred', 'common', 'warrant')
                    then nullif(substring(classified_spans.listed_symbol from '-(?:P|WT)?([A-Z]*)$'), '')
            end
        ) as share_class,
        {{ parse_fraction('terms.adr_ratio') }} as adr_ratio,
        {{ parse_fraction('terms.per_share_ratio') }} as per_share_ratio,
        classified_spans.is_newest,
        classified_spans.is_listed_now and classified_spans.cik is not null as is_listed,
        classified_spans.is_stated,
        classified_spans.issuer_count,
        classified_spans.sessions_missed,
        min(classified_spans.ticker) over one_security <> max(classified_spans.ticker) over one_security as has_several_tickers,
        classified_spans.is_stated
        or count(*) over one_ticker > 1
        or min(classified_spans.ticker) over one_security <> max(classified_spans.ticker) over one_security
        or classified_spans.issuer_count > 1 as may_change,
        classified_spans.first_current_session as first_session,
        classified_spans.last_current_session as last_session,
        classified_spans.first_known_at,
        classified_spans.issuer_known_at,
        case
            when classified_spans.first_year > min(classified_spans.first_year) over spans then make_date(classified_spans.first_year, 1, 1)
            else '-infinity'
        end as valid_from,
        lead(make_date(classified_spans.first_year, 1, 1), 1, {{ end_of_time() }}) over spans as valid_to
    from classified_spans
    left join {{ ref('security_terms') }} as terms using (security_id)
    window
        one_ticker as (partition by classified_spans.ticker),
        one_security as (partition by classified_spans.security_id),
        spans as (partition by classified_spans.ticker order by classified_spans.first_year)
)

select * from securities where first_session is not null
