{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

-- everything up to `news` is small: finelt/lake_marts asks Postgres for it, and only for the rest another engine.
-- offset 0 keeps the lateral lookups, so that a query about one ticker, also as of a moment, computes the earnings of one issuer only
with securities as (
    select distinct on (ratios.ticker, ratios.security_id)
        ratios.*,
        splits.ex_dates,
        splits.logs
        {%- if changes_only() %},
        changed.from_date
        {%- endif %}
    from {{ ref('int_per_share_ratios') }} as ratios
    {%- if changes_only() %}
    inner join {{ ref('int_tickers_changed') }} as changed using (ticker)
    {%- endif %}
    cross join lateral (
        select
            array_agg(actions.ex_date) as ex_dates,
            array_agg(-ln(actions.split_ratio)) as logs
        from {{ ref('int_corporate_actions') }} as actions
        where actions.security_id = ratios.security_id and actions.split_ratio <> 1
        offset 0
    ) as splits
    order by ratios.ticker, ratios.security_id, ratios.valid_to desc
),

earnings as (
    select
        securities.*,
        issuers.first_filed_date,
        ttm.known_from,
        ttm.known_to,
        ttm.period_end,
        ttm.fiscal_year_form,
        ttm.known_in_other_currency_from,
        ttm.null_reason as ttm_null_reason,
        coalesce(ttm.is_in_currency, false) as is_in_currency,
        coalesce(ttm.is_first, true) as is_first,
        per_share.eps,
        per_share.is_before_split
    from securities
    cross join lateral (
        select min(filings.first_filed_date) as first_filed_date
        from (
            select securities.cik as filer_cik
            union all
            select history.cik from {{ ref('issuer_history') }} as history where history.successor_cik = securities.cik
        ) as filers
        cross join lateral (
            select all_issuers.first_filed_date
            from {{ ref('dim_issuer') }} as all_issuers
            where all_issuers.filer_cik = filers.filer_cik and all_issuers.cik = securities.cik
            offset 0
        ) as filings
    ) as issuers
    left join lateral (
        select
            *,
            unit = securities.currency || '/shares' as is_in_currency,
            row_number() over (order by unit = securities.currency || '/shares' desc, known_from) = 1 as is_first,
            min(known_from) filter (where unit <> securities.currency || '/shares') over () as known_in_other_currency_from
        from {{ ref('int_fundamentals_ttm') }} as all_ttm
        where all_ttm.cik = securities.cik and all_ttm.concept = 'eps_diluted'
        offset 0
    ) as ttm on securities.per_share_ratio is not null
    -- a figure per share is in shares of its filing day: adjust each part to the share count of the newest price
    cross join lateral (
        select
            sum(parts.value * {{ round_stable('exp(later.log_split)', engine='postgres') }}::numeric)::float8 * securities.per_share_ratio as eps,
            bool_or(later.log_split <> 0) as is_before_split
        from (
            values
            (ttm.fiscal_year_value, ttm.fiscal_year_filed_date),
            (ttm.year_to_date_value, ttm.year_to_date_filed_date),
            (-ttm.prior_year_to_date_value, ttm.prior_year_to_date_filed_date)
        ) as parts (value, filed_date)
        cross join lateral (
            select coalesce(sum(splits.log), 0) as log_split
            from unnest(securities.ex_dates, securities.logs) as splits (ex_date, log)
            where splits.ex_date > parts.filed_date
        ) as later
    ) as per_share
),

-- a security's earnings as known from one day until the next such day
news as (
    select
        earnings.ticker,
        earnings.security_id,
        news.from_date,
        news.reason,
        news.period_end,
        news.eps,
        news.has_share_ratio
    from earnings
    cross join lateral (
        select
            earnings.known_from as from_date,
            case
                when earnings.ttm_null_reason is not null then earnings.ttm_null_reason
                when earnings.fiscal_year_form ~ '^(20-F|6-K)' and not earnings.is_stated then 'adr_ratio_unknown'
                when earnings.per_share_ratio <> 1 and earnings.is_before_split then 'ratio_unknown'
            end as reason,
            earnings.period_end,
            earnings.eps,
            earnings.per_share_ratio <> 1 as has_share_ratio
        where
            earnings.is_in_currency
            {%- if changes_only() %}
            and earnings.known_to > earnings.from_date
            {%- endif %}
        union all
        select '-infinity', coalesce(earnings.null_reason, 'no_filing'), null, null, null
        where earnings.is_first
        union all
        select earnings.first_filed_date + 1, 'not_mapped', null, null, null
        where
            earnings.is_first
            and earnings.null_reason is null
            and (
                earnings.first_filed_date + 1
                < least(earnings.known_in_other_currency_from, case when earnings.is_in_currency then earnings.known_from end, 'infinity')
            )
        union all
        select earnings.known_in_other_currency_from, 'currency_differs', null, null, null
        where
            earnings.is_first
            and not (earnings.is_in_currency and earnings.known_from <= earnings.known_in_other_currency_from)
            and earnings.known_in_other_currency_from is not null
    ) as news
),

-- prices and news in one order, which saves a search for the news of each price
timeline as (
    select
        ticker,
        security_id,
        from_date as day,
        false as is_price,
        reason,
        period_end,
        eps,
        has_share_ratio,
        null::numeric as close,
        null::float8 as split_factor,
        null::timestamptz as known_at
    from news
    union all
    select
        prices.ticker,
        prices.security_id,
        prices.trade_date,
        true,
        null,
        null,
        null,
        null,
        prices.close,
        prices.split_factor,
        prices.known_at
    from {{ ref('int_prices_adjusted') }} as prices
    {{ join_changed_tickers('prices') }}
),

numbered_timeline as (
    select
        *,
        count(*) filter (where not is_price) over (
            partition by ticker, security_id order by day, is_price rows unbounded preceding
        ) as news_number
    from timeline
),

valuations as (
    select
        security_id,
        ticker,
        day as trade_date,
        is_price,
        close,
        known_at,
        max(period_end) over same_news as period_end,
        case
            when max(reason) over same_news is not null then max(reason) over same_news
            when day - max(period_end) over same_news > 200 then 'stale'
            when bool_or(has_share_ratio) over same_news and split_factor <> 1 then 'ratio_unknown'
        end as unknown_reason,
        max(eps) over same_news / split_factor as eps
    from numbered_timeline
    window same_news as (partition by ticker, security_id, news_number)
)

select
    security_id,
    ticker,
    trade_date,
    close::numeric(18, 6) as close,
    case when unknown_reason is null then {{ round_stable('eps', 12) }} end as ttm_eps_diluted,
    case when unknown_reason is null and eps > 0 then {{ round_stable('close::float8 / eps', 12) }} end as pe_ratio,
    coalesce(unknown_reason, case when eps <= 0 then 'eps_not_positive' end) as pe_null_reason,
    period_end as ttm_period_end,
    known_at
from valuations
where is_price
