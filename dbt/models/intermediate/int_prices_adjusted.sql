{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_touched() }}",
    indexes=[{'columns': ['ticker', 'trade_date']}, {'columns': ['security_id', 'trade_date']}]
) }}

-- a price on a day without a session is no price: vendors have sent some on holidays
with sessions as materialized (
    select
        securities.security_id,
        prices.*,
        calendar.published_at as known_at,
        {{ 'touched.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        {{ 'touched.previous_date' if changes_only() else "'-infinity'::date" }} as previous_date,
        lag(prices.close) over traded as previous_close,
        calendar.session_number - lag(calendar.session_number) over traded - 1 as sessions_missed
    from {{ ref('stg_tiingo__prices') }} as prices
    inner join {{ ref('dim_calendar') }} as calendar
        on calendar.calendar = 'XNYS' and calendar.session_date = prices.trade_date
    inner join {{ ref('int_securities') }} as securities
        on
            securities.ticker = prices.ticker
            and securities.valid_from <= prices.trade_date
            and securities.valid_to > prices.trade_date
    {{ join_touched('prices', 'previous_date') }}
    where
        not securities.has_several_tickers
        or not exists (
            select
            from {{ ref('int_securities') }} as newer
            inner join {{ ref('stg_tiingo__prices') }} as others
                on
                    others.ticker = newer.ticker
                    and others.trade_date = prices.trade_date
                    and newer.valid_from <= others.trade_date
                    and newer.valid_to > others.trade_date
            where
                newer.security_id = securities.security_id
                and (newer.last_session, securities.ticker) > (securities.last_session, newer.ticker)
        )
    window traded as (partition by securities.security_id order by prices.trade_date)
),

-- an event counts from the first price on its ex-date or after it: that day may have no session, or a price that is in quarantine
events as (
    select
        actions.security_id,
        actions.ex_date,
        actions.dividend_cash,
        actions.split_ratio,
        on_ex_date.trade_date
    from {{ ref('int_corporate_actions') }} as actions
    {%- if changes_only() %}
    inner join {{ ref('int_touched') }} as touched on touched.ticker = actions.ticker and actions.ex_date > touched.previous_date
    {%- endif %}
    left join sessions as on_ex_date on on_ex_date.security_id = actions.security_id and on_ex_date.trade_date = actions.ex_date
),

dated as (
    select
        security_id,
        ex_date,
        dividend_cash,
        split_ratio,
        trade_date
    from events
    where trade_date is not null
    union all
    select
        events.security_id,
        events.ex_date,
        events.dividend_cash,
        events.split_ratio,
        min(sessions.trade_date) filter (where sessions.trade_date > events.ex_date)
    from events
    inner join sessions using (security_id)
    where events.trade_date is null
    group by events.security_id, events.ex_date, events.dividend_cash, events.split_ratio
),

-- a dividend is per share of its own ex-date: `shares` of them are one share of the price before
counted as (
    select
        dated.*,
        case
            when count(*) over one_price = 1 then dated.split_ratio
            else exp(sum(ln(dated.split_ratio)) over (one_price order by dated.ex_date))
        end as shares,
        case
            when dated.trade_date is not null then sessions.previous_close
            else (select last.close from sessions as last where last.security_id = dated.security_id order by last.trade_date desc limit 1)
        end as close_before
    from dated
    left join sessions using (security_id, trade_date)
    window one_price as (partition by dated.security_id, dated.trade_date)
),

-- what the events do to every earlier price; a dividend that eats the whole price does nothing, and fct_price_issue names it
steps as (
    select
        security_id,
        trade_date,
        case when count(*) = 1 then min(split_ratio) else exp(sum(ln(split_ratio))) end as split_ratio,
        case
            when count(*) = 1 then min(dividend_cash)
            else (sum(dividend_cash::float8 * shares) / exp(sum(ln(split_ratio))))::numeric(18, 10)
        end as dividend_cash,
        -sum(ln(split_ratio)) as log_split,
        sum(
            case
                when dividend_cash > 0 and dividend_cash::float8 * shares < close_before::float8
                    then ln(1 - dividend_cash::float8 * shares / close_before::float8)
                else 0
            end
        ) as log_dividend
    from counted
    group by security_id, trade_date
),

stepped as (
    select
        sessions.*,
        coalesce(steps.split_ratio, 1) as split_ratio_here,
        coalesce(steps.dividend_cash, 0)::numeric(18, 10) as dividend_cash_here,
        coalesce(steps.log_split, 0) as log_split,
        coalesce(steps.log_dividend, 0) as log_dividend,
        coalesce(after_last.log_split, 0) as log_split_after_last,
        coalesce(after_last.log_split + after_last.log_dividend, 0) as log_both_after_last
    from sessions
    left join steps on steps.security_id = sessions.security_id and steps.trade_date = sessions.trade_date
    left join steps as after_last on after_last.security_id = sessions.security_id and after_last.trade_date is null
)

select
    security_id,
    ticker,
    trade_date,
    open,
    high,
    low,
    close,
    volume,
    currency,
    dividend_cash_here as dividend_cash,
    split_ratio_here as split_ratio,
    vendor_adj_close,
    known_from as answered_at,
    known_at,
    previous_close,
    sessions_missed,
    {{ settled('exp(coalesce(sum(log_split) over later, 0) + log_split_after_last)') }} as split_factor,
    {{ settled('exp(coalesce(sum(log_split + log_dividend) over later, 0) + log_both_after_last)') }} as total_return_factor
from stepped
where trade_date >= from_date
window later as (
    partition by security_id order by trade_date desc rows between unbounded preceding and 1 preceding
)
