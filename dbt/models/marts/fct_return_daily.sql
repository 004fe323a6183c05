{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

-- more than gap_sessions sessions without a price begin a new series
with prices as (
    select
        daily.*,
        {{ 'changed.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        count(*) filter (where daily.sessions_missed > {{ var('gap_sessions') }}) over (
            partition by daily.security_id order by daily.trade_date
        ) as series
    from {{ ref('fct_price_daily') }} as daily
    {{ join_changed_tickers('daily', 'lookback_date') }}
),

price_changes as (
    select
        security_id,
        ticker,
        trade_date,
        series,
        known_at,
        from_date,
        close::float8 * split_ratio as close_per_old_share,
        dividend_cash::float8 * split_ratio as cash_per_old_share,
        nullif(lag(close) over sessions, 0)::float8 as previous_close,
        (lag(fx_rate) over sessions)::float8 / fx_rate::float8 as currency_growth
    from prices
    window sessions as (partition by security_id, series order by trade_date)
),

trade_days as (
    select distinct trade_date from price_changes
),

bill_yields as (
    select
        trade_days.trade_date,
        latest.yield_pct::float8 / 100 / 252 as risk_free_return
    from trade_days
    cross join lateral (
        select yields.yield_pct
        from {{ ref('fct_yield') }} as yields
        where
            yields.tenor = '3M'
            and yields.curve_date < trade_days.trade_date
            and yields.curve_date >= trade_days.trade_date - 7
        order by yields.curve_date desc
        limit 1
    ) as latest
),

returns as (
    select
        security_id,
        ticker,
        trade_date,
        series,
        known_at,
        from_date,
        close_per_old_share / previous_close - 1 as return_price,
        (close_per_old_share + cash_per_old_share) / previous_close - 1 as return_total,
        ln(nullif((close_per_old_share + cash_per_old_share) / previous_close, 0)) as return_total_log,
        close_per_old_share / previous_close * currency_growth - 1 as return_price_eur,
        (close_per_old_share + cash_per_old_share) / previous_close * currency_growth - 1 as return_total_eur
    from price_changes
),

-- the index before the first session to build
index_at_start as (
    {%- if changes_only() %}
    select mart.security_id, price_changes.series, mart.log_index, mart.log_high
    from {{ ref('int_tickers_changed') }} as changed
    inner join {{ this }} as mart on mart.ticker = changed.ticker and mart.trade_date = changed.previous_date
    inner join price_changes on price_changes.security_id = mart.security_id and price_changes.trade_date = mart.trade_date
    {%- else %}
    select null::text as security_id, null::bigint as series, 0::numeric(18, 12) as log_index, 0::numeric(18, 12) as log_high where false
    {%- endif %}
),

-- the index is a sum of decimals, so an incremental build gives exactly the same
return_index as (
    select
        returns.*,
        returns.return_total - bill_yields.risk_free_return as return_excess,
        index_at_start.log_high as previous_log_high,
        (
            coalesce(index_at_start.log_index, 0)
            + coalesce(sum(returns.return_total_log::numeric(18, 12)) filter (where returns.trade_date >= returns.from_date) over so_far, 0)
        )::numeric(18, 12) as log_index
    from returns
    left join bill_yields using (trade_date)
    left join index_at_start using (security_id, series)
    window so_far as (partition by returns.security_id, returns.series order by returns.trade_date)
),

-- Postgres slides a window over numerics of one scale, but adds up one over doubles again for each row
running_high as (
    select
        *,
        return_total_log::numeric(38, 20) as exact_log,
        return_excess::numeric(38, 20) as exact_excess,
        greatest(
            previous_log_high,
            max(log_index) filter (where trade_date >= from_date) over (partition by security_id, series order by trade_date)
        )::numeric(18, 12) as log_high
    from return_index
),

risk_figures as (
    select
        security_id,
        ticker,
        trade_date,
        from_date,
        {{ round_stable('return_price', 12) }} as return_price,
        {{ round_stable('return_total', 12) }} as return_total,
        {{ round_stable('return_total_log', 12) }} as return_total_log,
        {{ round_stable('return_price_eur', 12) }} as return_price_eur,
        {{ round_stable('return_total_eur', 12) }} as return_total_eur,
        {%- for sessions, window in [(21, 'month'), (63, 'quarter'), (252, 'year')] %}
        case
            when count(return_total_log) over {{ window }} = {{ sessions }}
                then {{ round_stable('(stddev_samp(exact_log) over ' ~ window ~ ')::float8 * sqrt(252::float8)', 12) }}
        end as vol_{{ sessions }}d,
        {%- endfor %}
        log_index,
        log_high,
        {{ round_stable('exp((log_index - log_high)::float8) - 1', 12) }} as drawdown,
        case
            when count(return_excess) over year = 252
                then
                    {{ round_stable(
                        '(avg(exact_excess) over year)::float8 / nullif(stddev_samp(exact_excess) over year, 0)::float8 * sqrt(252::float8)', 12
                    ) }}
        end as sharpe_252d,
        known_at
    from running_high
    window
        so_far as (partition by security_id, series order by trade_date),
        month as (so_far rows between 20 preceding and current row),
        quarter as (so_far rows between 62 preceding and current row),
        year as (so_far rows between 251 preceding and current row)
)

select
    security_id,
    ticker,
    trade_date,
    return_price,
    return_total,
    return_total_log,
    return_price_eur,
    return_total_eur,
    vol_21d,
    vol_63d,
    vol_252d,
    log_index,
    log_high,
    drawdown,
    sharpe_252d,
    known_at
from risk_figures
where trade_date >= from_date
