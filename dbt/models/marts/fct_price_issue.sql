{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_years() }}",
    indexes=[{'columns': ['security_id', 'trade_date', 'issue'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

{%- if changes_only() %}

-- the year of the first changed session, from the last comparable session before it
with changed_years as (
    select
        changed.ticker,
        date_trunc('year', changed.from_date) as from_date,
        coalesce(
            (
                select max(earlier.trade_date)
                from {{ ref('int_prices_adjusted') }} as earlier
                where
                    earlier.ticker = changed.ticker
                    and earlier.trade_date < date_trunc('year', changed.from_date)
                    and earlier.vendor_adj_close / nullif(earlier.close, 0)::float8 > 0
            ),
            date_trunc('year', changed.from_date)
        ) as start_date
    from {{ ref('int_tickers_changed') }} as changed
),
{%- else %}

with
{%- endif %}

-- read several times: in a full build, a scan is faster than a copy
prices as {{ '' if changes_only() else 'not ' }}materialized (
    select
        adjusted.*,
        extract(year from adjusted.trade_date)::integer as price_year,
        adjusted.vendor_adj_close / nullif(adjusted.close, 0)::float8 as vendor_factor,
        {{ 'changed_years.from_date' if changes_only() else "'-infinity'::timestamp" }} as from_date
    from {{ ref('int_prices_adjusted') }} as adjusted
    {%- if changes_only() %}
    inner join changed_years on changed_years.ticker = adjusted.ticker and adjusted.trade_date >= changed_years.start_date
    {%- endif %}
),

-- compare both factors with those of the year's last session: a year comes in one response, with factors relative to one session
yearly_factors as (
    select
        *,
        abs(
            (total_return_factor / last_value(total_return_factor) over one_year)
            / (vendor_factor / last_value(vendor_factor) over one_year) - 1
        ) > 0.001 as is_different,
        lag(price_year) over sessions as previous_year,
        lag(trade_date) over sessions as previous_session,
        lag(answered_at) over sessions as previous_answered_at,
        lag(total_return_factor) over sessions as previous_factor,
        lag(vendor_factor) over sessions as previous_vendor_factor
    from prices
    where vendor_factor > 0
    window
        one_year as (
            partition by security_id, price_year order by trade_date rows between unbounded preceding and unbounded following
        ),
        sessions as (partition by security_id order by price_year, trade_date)  -- one sort serves both windows
),

factor_steps as (
    select
        *,
        case
            when previous_year = price_year then lag(is_different) over sessions and not is_different
            when previous_year = price_year - 1
                then abs(previous_vendor_factor / vendor_factor / (previous_factor / total_return_factor) - 1) > 0.001
        end as is_step
    from yearly_factors
    window sessions as (partition by security_id order by price_year, trade_date)
),

-- the previous year's response may be older, without the events that became known before this year's response
steps_with_events as (
    select
        factor_steps.*,
        factor_steps.previous_vendor_factor / factor_steps.vendor_factor / (factor_steps.previous_factor / factor_steps.total_return_factor)
            as step_ratio,
        factor_then.total_return_factor / factor_now.total_return_factor as events_between
    from factor_steps
    left join lateral (
        select adjusted.total_return_factor
        from {{ ref('int_prices_adjusted') }} as adjusted
        where
            adjusted.security_id = factor_steps.security_id
            and adjusted.trade_date
            <= greatest((factor_steps.previous_answered_at at time zone 'America/New_York')::date, factor_steps.trade_date)
        order by adjusted.trade_date desc
        limit 1
    ) as factor_then on true
    left join lateral (
        select adjusted.total_return_factor
        from {{ ref('int_prices_adjusted') }} as adjusted
        where
            adjusted.security_id = factor_steps.security_id
            and adjusted.trade_date <= greatest((factor_steps.answered_at at time zone 'America/New_York')::date, factor_steps.trade_date)
        order by adjusted.trade_date desc
        limit 1
    ) as factor_now on true
    where factor_steps.is_step
),

issues as (
    select
        security_id,
        ticker,
        trade_date,
        from_date,
        'adjustment_differs' as issue,
        format('before this session the vendor adjusts by %s times what the actions give', round((step_ratio)::numeric, 6)) as detail
    from steps_with_events
    where previous_year = price_year or abs(step_ratio * events_between - 1) > 0.001
    union all
    select
        security_id,
        ticker,
        trade_date,
        from_date,
        'dividend_exceeds_price',
        format('a dividend of %s a share on a price of %s before; it adjusts nothing', dividend_cash, previous_close)
    from prices
    where dividend_cash::float8 * split_ratio >= previous_close
    union all
    select
        security_id,
        ticker,
        trade_date,
        from_date,
        'long_gap',
        format('%s sessions without a price; a new series of returns begins', sessions_missed)
    from prices
    where sessions_missed > {{ var('gap_sessions') }}
    union all
    select
        prices.security_id,
        prices.ticker,
        prices.trade_date,
        prices.from_date,
        'taken_for_another',
        format('%s sessions after %s; state in ticker_history if it is the same security', spans.sessions_missed, spans.previous_id)
    from prices
    inner join (
        select
            security_id,
            ticker,
            sessions_missed,
            is_stated,
            lag(security_id) over (partition by ticker order by valid_from) as previous_id
        from {{ ref('int_securities') }}
    ) as spans using (security_id, ticker)
    where prices.sessions_missed is null and spans.previous_id is not null and not spans.is_stated
    union all
    select
        prices.security_id,
        prices.ticker,
        min(prices.trade_date),
        min(prices.from_date),
        'issuer_changed',
        format('SEC lists the ticker for CIK %s, before for CIK %s', min(issuer_changes.cik), min(issuer_changes.previous_cik))
    from (
        select
            symbol,
            cik,
            listed_from,
            lag(cik) over (partition by symbol order by listed_from) as previous_cik
        from {{ ref('stg_sec__filer_versions') }}
    ) as issuer_changes
    inner join {{ ref('int_securities') }} as spans on spans.listed_symbol = issuer_changes.symbol and spans.issuer_count > 1
    inner join prices
        on
            prices.security_id = spans.security_id
            and prices.trade_date >= (issuer_changes.listed_from at time zone 'America/New_York')::date
    where issuer_changes.previous_cik <> issuer_changes.cik
    group by prices.security_id, prices.ticker, issuer_changes.listed_from
)

select distinct on (security_id, trade_date, issue)
    security_id,
    ticker,
    trade_date,
    issue,
    detail
from issues
where trade_date >= from_date
order by security_id, trade_date, issue, detail
