{{ config(materialized='table') }}

{%- set made = adapter.get_relation(database=target.database, schema='marts', identifier='fct_price_daily') if execute %}

with touched as (
    select * from {{ ref('stg_lake__touched') }}
),

securities as (
    select * from {{ ref('int_securities') }}
),

-- issuers whose lines in the list of filers changed: each line may tell what the issuer's other securities are
relisted as (
    select coalesce(successors.successor_cik, versions.cik) as cik
    from touched
    inner join {{ ref('stg_sec__filer_versions') }} as versions on versions.ticker = touched.subject
    left join {{ ref('issuer_history') }} as successors on successors.cik = versions.cik
    where touched.dataset = 'sec_filers'
),

last_made as (
    {%- if made and var('changes_only') %}
    select subjects.ticker, latest.last_session
    from (select distinct subject as ticker from touched where dataset = 'tiingo_prices') as subjects
    cross join lateral (select max(prices.trade_date) as last_session from {{ made }} as prices where prices.ticker = subjects.ticker) as latest
    {%- else %}
    select null::text as ticker, null::date as last_session where false
    {%- endif %}
),

changes as (
    select
        touched.subject as ticker,
        case
            when
                bool_or(touched.is_whole)
                or min(touched.day) <= min(last_made.last_session)
                or touched.subject in (select securities.ticker from securities where securities.may_change)
                then '-infinity'::date
            else min(touched.day)
        end as from_date
    from touched
    left join last_made on last_made.ticker = touched.subject
    where touched.dataset = 'tiingo_prices'
    group by touched.subject
    union all
    -- a rate counts from its day on, a bill's yield from the session after, earnings from the session after the filing
    select securities.ticker, days.day
    from securities
    cross join (
        select min(day) as day from touched where dataset in ('ecb_fx_rates', 'treasury_par_yields')
    ) as days
    where days.day is not null
    union all
    select securities.ticker, touched.day
    from securities
    left join {{ ref('issuer_history') }} as history on history.successor_cik = securities.cik
    inner join touched
        on touched.dataset = 'sec_company_facts' and touched.subject in (securities.cik::text, history.cik::text)
    union all
    select securities.ticker, '-infinity'::date
    from securities
    where securities.cik in (select relisted.cik from relisted)
    union all
    select securities.ticker, '-infinity'::date
    from securities
    inner join touched on touched.dataset = 'sec_filers' and {{ normal_ticker('touched.subject') }} = securities.listed_symbol
),

-- a security that is under several tickers is made anew from all of them
earliest as (
    select ticker, min(from_date) as from_date
    from (
        select ticker, from_date from changes
        union all
        select others.ticker, '-infinity'::date
        from changes
        inner join securities as touched_one on touched_one.ticker = changes.ticker and touched_one.has_several_tickers
        inner join securities as others using (security_id)
    ) as all_changes
    group by ticker
)

select
    earliest.ticker,
    earliest.from_date,
    coalesce(before.previous_date, '-infinity'::date) as previous_date,
    coalesce(before.lookback_date, '-infinity'::date) as lookback_date
from earliest
left join lateral (
    {%- if made and var('changes_only') %}
    select
        max(trade_date) as previous_date,
        case when count(*) = 252 then min(trade_date) end as lookback_date
    from (
        select prices.trade_date
        from {{ made }} as prices
        where prices.ticker = earliest.ticker and prices.trade_date < earliest.from_date
        order by prices.trade_date desc
        limit 252
    ) as last_year
    {%- else %}
    select null::date as previous_date, null::date as lookback_date
    {%- endif %}
) as before on true
