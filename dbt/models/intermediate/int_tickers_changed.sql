{{ config(materialized='table', post_hook="{{ drop_renamed('table', 'int_touched') }}") }}

{%- set built_prices = adapter.get_relation(database=target.database, schema='marts', identifier='fct_price_daily') if execute %}

with changed_rows as (
    select * from {{ ref('stg_lake__changed_rows') }}
),

securities as (
    select * from {{ ref('int_securities') }}
),

-- issuers whose rows in SEC's list changed: each row may decide the kind of the issuer's other securities
changed_issuers as (
    select coalesce(successors.successor_cik, versions.cik) as cik
    from changed_rows
    inner join {{ ref('stg_sec__filer_versions') }} as versions on versions.ticker = changed_rows.subject
    left join {{ ref('issuer_history') }} as successors on successors.cik = versions.cik
    where changed_rows.dataset = 'sec_filers'
),

built_sessions as (
    {%- if built_prices and var('changes_only') %}
    select subjects.ticker, latest.last_session
    from (select distinct subject as ticker from changed_rows where dataset = 'tiingo_prices') as subjects
    cross join lateral (
        select max(prices.trade_date) as last_session from {{ built_prices }} as prices where prices.ticker = subjects.ticker
    ) as latest
    {%- else %}
    select null::text as ticker, null::date as last_session where false
    {%- endif %}
),

ticker_changes as (
    select
        changed_rows.subject as ticker,
        case
            when
                bool_or(changed_rows.is_whole)
                or min(changed_rows.day) <= min(built_sessions.last_session)
                or changed_rows.subject in (select securities.ticker from securities where securities.may_change)
                then '-infinity'::date
            else min(changed_rows.day)
        end as from_date
    from changed_rows
    left join built_sessions on built_sessions.ticker = changed_rows.subject
    where changed_rows.dataset = 'tiingo_prices'
    group by changed_rows.subject
    union all
    -- a rate applies from its day on, a bill's yield from the next session, earnings from the session after the filing
    select securities.ticker, days.day
    from securities
    cross join (
        select min(day) as day from changed_rows where dataset in ('ecb_fx_rates', 'treasury_par_yields')
    ) as days
    where days.day is not null
    union all
    select securities.ticker, changed_rows.day
    from securities
    left join {{ ref('issuer_history') }} as history on history.successor_cik = securities.cik
    inner join changed_rows
        on changed_rows.dataset = 'sec_company_facts' and changed_rows.subject in (securities.cik::text, history.cik::text)
    union all
    select securities.ticker, '-infinity'::date
    from securities
    where securities.cik in (select changed_issuers.cik from changed_issuers)
    union all
    select securities.ticker, '-infinity'::date
    from securities
    inner join changed_rows
        on changed_rows.dataset = 'sec_filers' and {{ normalise_ticker('changed_rows.subject') }} = securities.listed_symbol
),

-- a security with several tickers is rebuilt from all of them
first_changes as (
    select ticker, min(from_date) as from_date
    from (
        select ticker, from_date from ticker_changes
        union all
        select others.ticker, '-infinity'::date
        from ticker_changes
        inner join securities as changed_security
            on changed_security.ticker = ticker_changes.ticker and changed_security.has_several_tickers
        inner join securities as others using (security_id)
    ) as all_changes
    group by ticker
)

select
    first_changes.ticker,
    first_changes.from_date,
    coalesce(prior_sessions.previous_date, '-infinity'::date) as previous_date,
    coalesce(prior_sessions.lookback_date, '-infinity'::date) as lookback_date
from first_changes
left join lateral (
    {%- if built_prices and var('changes_only') %}
    select
        max(trade_date) as previous_date,
        case when count(*) = 252 then min(trade_date) end as lookback_date
    from (
        select prices.trade_date
        from {{ built_prices }} as prices
        where prices.ticker = first_changes.ticker and prices.trade_date < first_changes.from_date
        order by prices.trade_date desc
        limit 252
    ) as prior_year
    {%- else %}
    select null::date as previous_date, null::date as lookback_date
    {%- endif %}
) as prior_sessions on true
