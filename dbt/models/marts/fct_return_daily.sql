{{ config(indexes=[{'columns': ['trade_date', 'ticker'], 'unique': true}]) }}

with prices as (
    select
        ticker,
        trade_date,
        known_at,
        close::float8 * split_ratio::float8 as close_per_old_share,
        dividend_cash::float8 as dividend_cash,
        nullif(lag(close) over sessions, 0)::float8 as previous_close,
        (lag(fx_rate) over sessions)::float8 / fx_rate::float8 as currency_growth
    from {{ ref('fct_price_daily') }}
    window sessions as (partition by ticker order by trade_date)
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
        ticker,
        trade_date,
        known_at,
        close_per_old_share / previous_close - 1 as return_price,
        (close_per_old_share + dividend_cash) / previous_close - 1 as return_total,
        ln(nullif((close_per_old_share + dividend_cash) / previous_close, 0)) as return_total_log,
        close_per_old_share / previous_close * currency_growth - 1 as return_price_eur,
        (close_per_old_share + dividend_cash) / previous_close * currency_growth - 1 as return_total_eur
    from prices
),

-- the index is a sum of decimals: exact, in whatever steps it is added up
indexed as (
    select
        returns.*,
        returns.return_total - bill_yields.risk_free_return as return_excess,
        coalesce(sum(returns.return_total_log::numeric(18, 12)) over so_far, 0)::numeric(18, 12) as log_index
    from returns
    left join bill_yields using (trade_date)
    window so_far as (partition by returns.ticker order by returns.trade_date)
),

peaked as (
    select
        *,
        max(log_index) over (partition by ticker order by trade_date) as log_high
    from indexed
)

select
    ticker,
    trade_date,
    {{ settled('return_price', 12) }} as return_price,
    {{ settled('return_total', 12) }} as return_total,
    {{ settled('return_total_log', 12) }} as return_total_log,
    {{ settled('return_price_eur', 12) }} as return_price_eur,
    {{ settled('return_total_eur', 12) }} as return_total_eur,
    {%- for sessions, window in [(21, 'month'), (63, 'quarter'), (252, 'year')] %}
    case
        when count(return_total_log) over {{ window }} = {{ sessions }}
            then {{ settled('stddev_samp(return_total_log) over ' ~ window ~ ' * sqrt(252::float8)', 12) }}
    end as vol_{{ sessions }}d,
    {%- endfor %}
    log_index,
    log_high,
    {{ settled('exp((log_index - log_high)::float8) - 1', 12) }} as drawdown,
    case
        when count(return_excess) over year = 252
            then {{ settled('avg(return_excess) over year / nullif(stddev_samp(return_excess) over year, 0) * sqrt(252::float8)', 12) }}
    end as sharpe_252d,
    known_at
from peaked
window
    so_far as (partition by ticker order by trade_date),
    month as (so_far rows between 20 preceding and current row),
    quarter as (so_far rows between 62 preceding and current row),
    year as (so_far rows between 251 preceding and current row)
