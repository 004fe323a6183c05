{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['trade_date', 'security_id'], 'unique': true}, {'columns': ['ticker', 'trade_date']}]
) }}

-- the bill yield of the latest earlier day applies to a session, if that day is at most 7 days before; `distinct on` removes nothing here
-- and below, and tells Postgres that days are unique, so that it hashes them and not the prices
with bill_yields as (
    select distinct on (yields.curve_date + days.number)
        yields.curve_date + days.number as trade_date,
        yields.yield_pct::float8 / 100 / 252 as risk_free_return
    from (
        select
            curve_date,
            yield_pct,
            lead(curve_date) over (order by curve_date) - curve_date as days_to_next
        from {{ ref('fct_yield') }}
        where tenor = '3M'
    ) as yields
    inner join (values (1), (2), (3), (4), (5), (6), (7)) as days (number) on days.number <= coalesce(yields.days_to_next, 7)
),

-- the rate of the latest day applies to a session, if that day is at most 5 days before
euro_rates as (
    select distinct on (rates.rate_date + days.number)
        rates.quote_currency as currency,
        rates.rate_date + days.number as trade_date,
        rates.rate::float8 as fx_rate
    from (
        select
            quote_currency,
            rate_date,
            rate,
            lead(rate_date) over (partition by quote_currency order by rate_date) - rate_date as days_to_next
        from {{ ref('fct_fx_rate') }}
        where base_currency = 'EUR' and quote_currency = {{ price_currency() }}
    ) as rates
    inner join (values (0), (1), (2), (3), (4), (5)) as days (number) on days.number < coalesce(rates.days_to_next, 6)
),

-- the index before the first session to build
index_at_start as (
    {%- if changes_only() %}
    select mart.security_id, mart.trade_date, mart.log_index, mart.log_high
    from {{ ref('int_tickers_changed') }} as changed
    inner join {{ this }} as mart on mart.ticker = changed.ticker and mart.trade_date = changed.previous_date
    {%- else %}
    select null::text as security_id, null::date as trade_date, 0::numeric(18, 12) as log_index, 0::numeric(18, 12) as log_high where false
    {%- endif %}
),

-- all joins come first, so that the rows are sorted once; more than gap_sessions sessions without a price begin a new series
prices as (
    select
        daily.security_id,
        daily.ticker,
        daily.trade_date,
        daily.known_at,
        daily.close::float8 as close,
        daily.close::float8 * daily.split_ratio as close_per_old_share,
        daily.dividend_cash::float8 * daily.split_ratio as cash_per_old_share,
        euro_rates.fx_rate,
        bill_yields.risk_free_return,
        index_at_start.log_index as log_index_at_start,
        index_at_start.log_high as log_high_at_start,
        {{ 'changed.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        count(*) filter (where daily.sessions_missed > {{ var('gap_sessions') }}) over (
            partition by daily.security_id order by daily.trade_date
        ) as series
    from {{ ref('int_prices_adjusted') }} as daily
    {{ join_changed_tickers('daily', 'lookback_date') }}
    left join bill_yields on bill_yields.trade_date = daily.trade_date
    left join index_at_start on index_at_start.security_id = daily.security_id and index_at_start.trade_date = daily.trade_date
    left join euro_rates on euro_rates.currency = daily.currency and euro_rates.trade_date = daily.trade_date
),

price_changes as (
    select
        *,
        nullif(lag(close) over sessions, 0) as previous_close,
        lag(fx_rate) over sessions / fx_rate as currency_growth
    from prices
    window sessions as (partition by security_id, series order by trade_date)
),

returns as (
    select
        security_id,
        ticker,
        trade_date,
        series,
        known_at,
        from_date,
        log_index_at_start,
        log_high_at_start,
        close_per_old_share / previous_close - 1 as return_price,
        (close_per_old_share + cash_per_old_share) / previous_close - 1 as return_total,
        (close_per_old_share + cash_per_old_share) / previous_close - 1 - risk_free_return as return_excess,
        ln(nullif((close_per_old_share + cash_per_old_share) / previous_close, 0)) as return_total_log,
        close_per_old_share / previous_close * currency_growth - 1 as return_price_eur,
        (close_per_old_share + cash_per_old_share) / previous_close * currency_growth - 1 as return_total_eur
    from price_changes
),

-- the index is a sum of whole numbers of 1e-12, so an incremental build gives exactly the same
return_index as (
    select
        *,
        max(log_high_at_start) over so_far as previous_log_high,
        (
            coalesce(max(log_index_at_start) over so_far, 0)
            + coalesce(sum({{ round_to_bigint('return_total_log * 1e12::float8') }}) filter (where trade_date >= from_date) over so_far, 0)
            * 0.000000000001
        )::numeric(18, 12) as log_index
    from returns
    window so_far as (partition by security_id, series order by trade_date)
),

running_high as (
    select
        *,
        greatest(previous_log_high, max(log_index) filter (where trade_date >= from_date) over so_far)::numeric(18, 12) as log_high,
        {{ whole_number('return_total_log') }} as log_number,
        {{ whole_number('return_excess') }} as excess_number,
        row_number() over so_far as session
    from return_index
    window so_far as (partition by security_id, series order by trade_date)
),

{%- set windows = [(21, 'month'), (63, 'quarter'), (252, 'year')] %}
{%- if changes_only() %}

-- a window per session costs more than an aggregate per session, unless a security has many sessions to build
few_sessions as (
    select security_id
    from running_high
    where trade_date >= from_date
    group by security_id
    having count(*) <= 10
),

session_statistics as (
    select
        built.security_id,
        built.trade_date,
        {%- for sessions, _ in windows %}
        count(earlier.log_number) filter (where built.session - earlier.session < {{ sessions }}) as log_count_{{ sessions }},
        stddev_samp(earlier.log_number) filter (where built.session - earlier.session < {{ sessions }}) as log_deviation_{{ sessions }},
        {%- endfor %}
        count(earlier.excess_number) as excess_count,
        avg(earlier.excess_number) as excess_mean,
        stddev_samp(earlier.excess_number) as excess_deviation
    from running_high as built
    inner join running_high as earlier
        on
            earlier.security_id = built.security_id
            and earlier.series = built.series
            and earlier.session between built.session - 251 and built.session
    where built.trade_date >= built.from_date and built.security_id in (select few_sessions.security_id from few_sessions)
    group by built.security_id, built.trade_date
),
{%- endif %}

window_statistics as (
    select
        *,
        {%- for sessions, window in windows %}
        count(log_number) over {{ window }} as log_count_{{ sessions }},
        {{ deviation('log_number', window) }} as log_deviation_{{ sessions }},
        {%- endfor %}
        count(excess_number) over year as excess_count,
        avg(excess_number) over year as excess_mean,
        {{ deviation('excess_number', 'year') }} as excess_deviation
    from running_high
    {%- if changes_only() %}
    where security_id not in (select few_sessions.security_id from few_sessions)
    {%- endif %}
    window
        so_far as (partition by security_id, series order by trade_date),
        month as (so_far rows between 20 preceding and current row),
        quarter as (so_far rows between 62 preceding and current row),
        year as (so_far rows between 251 preceding and current row)
    {%- if changes_only() %}
    union all
    select
        running_high.*,
        {%- for sessions, _ in windows %}
        session_statistics.log_count_{{ sessions }},
        session_statistics.log_deviation_{{ sessions }},
        {%- endfor %}
        session_statistics.excess_count,
        session_statistics.excess_mean,
        session_statistics.excess_deviation
    from running_high
    inner join session_statistics using (security_id, trade_date)
    {%- endif %}
),

-- offset 0: otherwise Postgres computes a figure again wherever its rounding names it
risk_figures as (
    select
        *,
        {%- for sessions, _ in windows %}
        case
            when log_count_{{ sessions }} = {{ sessions }} then log_deviation_{{ sessions }}::float8 / 1e17::float8 * sqrt(252::float8)
        end as vol_{{ sessions }}d,
        {%- endfor %}
        case
            when excess_count = 252 then excess_mean::float8 / nullif(excess_deviation, 0)::float8 * sqrt(252::float8)
        end as sharpe_252d,
        exp((log_index - log_high)::float8) - 1 as drawdown
    from window_statistics
    where trade_date >= from_date
    offset 0
)

select
    security_id,
    ticker,
    trade_date,
    {%- for figure in ['return_price', 'return_total', 'return_total_log', 'return_price_eur', 'return_total_eur', 'vol_21d', 'vol_63d', 'vol_252d'] %}
    {{ round_stable(figure, 12) }} as {{ figure }},
    {%- endfor %}
    log_index,
    log_high,
    {{ round_stable('drawdown', 12) }} as drawdown,
    {{ round_stable('sharpe_252d', 12) }} as sharpe_252d,
    known_at
from risk_figures
