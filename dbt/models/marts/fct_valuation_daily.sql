{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_touched() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

with prices as (
    select security_id, ticker, trade_date, close, split_factor, known_at
    from {{ ref('fct_price_daily') }}
),

securities as (
    select distinct on (security_id) security_id, cik from {{ ref('int_securities') }} order by security_id, last_session desc, ticker
),

earnings as (
    select
        securities.security_id,
        ttm.*
    from {{ ref('int_fundamentals_ttm') }} as ttm
    inner join securities using (cik)
    {%- if changes_only() %}
    inner join (
        select
            spans.security_id,
            min(touched.from_date) as from_date
        from {{ ref('int_touched') }} as touched
        inner join {{ ref('int_securities') }} as spans using (ticker)
        group by spans.security_id
    ) as touched on touched.security_id = securities.security_id and touched.from_date < ttm.known_to
    {%- endif %}
    where ttm.concept = 'eps_diluted'
),

-- a figure per share counts the shares of its filing day: each part is carried to the share count of the newest price
parts as (
    select
        security_id,
        known_from,
        fiscal_year_value as value,
        fiscal_year_filed_date as filed_date
    from earnings
    union all
    select security_id, known_from, year_to_date_value, year_to_date_filed_date from earnings
    union all
    select security_id, known_from, -prior_year_to_date_value, prior_year_to_date_filed_date from earnings
),

earnings_per_newest_share as (
    select
        parts.security_id,
        parts.known_from,
        sum(parts.value * coalesce(on_filing.split_factor, before_first.split_factor)::numeric)::float8 as eps
    from parts
    left join lateral (
        select prices.split_factor
        from prices
        where prices.security_id = parts.security_id and prices.trade_date <= parts.filed_date
        order by prices.trade_date desc
        limit 1
    ) as on_filing on true
    left join lateral (
        select prices.split_factor
        from prices
        where prices.security_id = parts.security_id
        order by prices.trade_date
        limit 1
    ) as before_first on true
    group by parts.security_id, parts.known_from
),

valued as (
    select
        prices.security_id,
        prices.ticker,
        prices.trade_date,
        prices.close,
        prices.known_at,
        earnings.period_end,
        case
            when securities.cik is null then 'no_filer'
            when earnings.known_from is null then 'no_filing'
            when earnings.null_reason is not null then earnings.null_reason
            when prices.trade_date - earnings.period_end > 200 then 'stale'
        end as unknown_because,
        per_share.eps / prices.split_factor as eps
    from prices
    left join securities using (security_id)
    left join earnings
        on
            earnings.security_id = prices.security_id
            and earnings.known_from <= prices.trade_date
            and earnings.known_to > prices.trade_date
    left join earnings_per_newest_share as per_share
        on per_share.security_id = earnings.security_id and per_share.known_from = earnings.known_from
    {{ join_touched('prices') }}
)

select
    security_id,
    ticker,
    trade_date,
    close,
    case when unknown_because is null then {{ settled('eps', 12) }} end as ttm_eps_diluted,
    case when unknown_because is null and eps > 0 then {{ settled('close::float8 / eps', 12) }} end as pe_ratio,
    coalesce(unknown_because, case when eps <= 0 then 'eps_not_positive' end) as pe_null_reason,
    period_end as ttm_period_end,
    known_at
from valued
