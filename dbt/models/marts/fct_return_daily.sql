{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_touched() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

-- more sessions without a price than gap_sessions begin a new series
with priced as (
    select
        daily.*,
        {{ 'touched.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        count(*) filter (where daily.sessions_missed > {{ var('gap_sessions') }}) over (
            partition by daily.security_id order by daily.trade_date
        ) as series
    from {{ ref('fct_price_daily') }} as daily
    {{ join_touched('daily', 'lookback_date') }}
),

prices as (
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
    from priced
    window sessions as (partition by security_id, series order by trade_date)
),

trade_days as (
    select distinct trade_date from prices
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
    from prices
),

-- where the index stood before the first session that is made
stood as (
    {%- if changes_only() %}
    select mine.security_id, prices.series, mine.log_index, mine.log_high
    from {{ ref('int_touched') }} as touched
    inner join {{ this }} as mine on mine.ticker = touched.ticker and mine.trade_date = touched.previous_date
    inner join prices on prices.security_id = mine.security_id and prices.trade_date = mine.trade_date
    {%- else %}
    select null::text as security_id, null::bigint as series, 0::numeric(18, 12) as log_index, 0::numeric(18, 12) as log_high where false
    {%- endif %}
),

-- the index is a sum of decimals: exact, in whatever steps it is added up
indexed as (
    select
        returns.*,
        returns.return_total - bill_yields.risk_free_return as return_excess,
        stood.log_high as log_high_before,
        (
            coalesce(stood.log_index, 0)
            + coalesce(sum(returns.return_total_log::numeric(18, 12)) filter (where returns.trade_date >= returns.from_date) over so_far, 0)
        )::numeric(18, 12) as log_index
    from returns
    left join bill_yields using (trade_date)
    left join stood using (security_id, series)
    window so_far as (partition by returns.security_id, returns.series order by returns.trade_date)
),

-- Postgres moves a window of numerics along, and adds up one of doubles anew for each row; of one scale, so that it never starts again
peaked as (
    select
        *,
        return_total_log::numeric(38, 20) as exact_log,
        return_excess::numeric(38, 20) as exact_excess,
        greatest(
            log_high_before, max(log_index) filter (where trade_date >= from_date) over (partition by security_id, series order by trade_date)
        )::numeric(18, 12) as log_high
    from indexed
),

measured as (
    select
        security_id,
        ticker,
        trade_date,
        from_date,
        {{ settled('return_price', 12) }} as return_price,
        {{ settled('return_total', 12) }} as return_total,
        {{ settled('return_total_log', 12) }} as return_total_log,
        {{ settled('return_price_eur', 12) }} as return_price_eur,
        {{ settled('return_total_eur', 12) }} as return_total_eur,
        {%- for sessions, window in [(21, 'month'), (63, 'quarter'), (252, 'year')] %}
        case
            when count(return_total_log) over {{ window }} = {{ sessions }}
                then {{ settled('(stddev_samp(exact_log) over ' ~ window ~ ')::float8 * sqrt(252::float8)', 12) }}
        end as vol_{{ sessions }}d,
        {%- endfor %}
        log_index,
        log_high,
        {{ settled('exp((log_index - log_high)::float8) - 1', 12) }} as drawdown,
        case
            when count(return_excess) over year = 252
                then
                    {{ settled(
                        '(avg(exact_excess) over year)::float8 / nullif(stddev_samp(exact_excess) over year, 0)::float8 * sqrt(252::float8)', 12
                    ) }}
        end as sharpe_252d,
        known_at
    from peaked
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
from measured
where trade_date >= from_date
