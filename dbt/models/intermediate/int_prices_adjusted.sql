{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['ticker', 'trade_date']}, {'columns': ['security_id', 'trade_date']}]
) }}

-- drop prices on days without a session: vendors have sent some on holidays
with session_prices as materialized (
    select
        securities.security_id,
        prices.*,
        calendar.published_at as known_at,
        {{ 'changed.from_date' if changes_only() else "'-infinity'::date" }} as from_date,
        {{ 'changed.previous_date' if changes_only() else "'-infinity'::date" }} as previous_date,
        lag(prices.close) over by_session as previous_close,
        calendar.session_number - lag(calendar.session_number) over by_session - 1 as sessions_missed
    from {{ ref('stg_tiingo__prices') }} as prices
    inner join {{ ref('dim_calendar') }} as calendar
        on calendar.calendar = 'XNYS' and calendar.session_date = prices.trade_date
    inner join {{ ref('int_securities') }} as securities
        on
            securities.ticker = prices.ticker
            and securities.valid_from <= prices.trade_date
            and securities.valid_to > prices.trade_date
    {{ join_changed_tickers('prices', 'previous_date') }}
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
    window by_session as (partition by securities.security_id order by prices.trade_date)
),

-- an event applies from the first price on or after its ex-date: that day may have no session, or its price may be in quarantine
events as (
    select
        actions.security_id,
        actions.ex_date,
        actions.dividend_cash,
        actions.split_ratio,
        on_ex_date.trade_date
    from {{ ref('int_corporate_actions') }} as actions
    {%- if changes_only() %}
    inner join {{ ref('int_tickers_changed') }} as changed on changed.ticker = actions.ticker and actions.ex_date > changed.previous_date
    {%- endif %}
    left join session_prices as on_ex_date on on_ex_date.security_id = actions.security_id and on_ex_date.trade_date = actions.ex_date
),

dated_events as (
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
        min(session_prices.trade_date) filter (where session_prices.trade_date > events.ex_date)
    from events
    inner join session_prices using (security_id)
    where events.trade_date is null
    group by events.security_id, events.ex_date, events.dividend_cash, events.split_ratio
),

-- a dividend is per share of its ex-date: share_ratio of them equal one share of the previous price
event_terms as (
    select
        dated_events.*,
        case
            when count(*) over same_session = 1 then dated_events.split_ratio
            else exp(sum(ln(dated_events.split_ratio)) over (same_session order by dated_events.ex_date))
        end as share_ratio,
        case
            when dated_events.trade_date is not null then session_prices.previous_close
            else (
                select last_price.close
                from session_prices as last_price
                where last_price.security_id = dated_events.security_id
                order by last_price.trade_date desc
                limit 1
            )
        end as previous_close
    from dated_events
    left join session_prices using (security_id, trade_date)
    window same_session as (partition by dated_events.security_id, dated_events.trade_date)
),

-- the factors that the events apply to all earlier prices; a dividend as large as the price is ignored, and fct_price_issue reports it
event_factors as (
    select
        security_id,
        trade_date,
        case when count(*) = 1 then min(split_ratio) else exp(sum(ln(split_ratio))) end as split_ratio,
        case
            when count(*) = 1 then min(dividend_cash)
            else (sum(dividend_cash::float8 * share_ratio) / exp(sum(ln(split_ratio))))::numeric(18, 10)
        end as dividend_cash,
        -sum(ln(split_ratio)) as log_split,
        sum(
            case
                when dividend_cash > 0 and dividend_cash::float8 * share_ratio < previous_close::float8
                    then ln(1 - dividend_cash::float8 * share_ratio / previous_close::float8)
                else 0
            end
        ) as log_dividend
    from event_terms
    group by security_id, trade_date
),

prices_with_events as (
    select
        session_prices.*,
        coalesce(event_factors.split_ratio, 1) as event_split_ratio,
        coalesce(event_factors.dividend_cash, 0)::numeric(18, 10) as event_dividend_cash,
        coalesce(event_factors.log_split, 0) as log_split,
        coalesce(event_factors.log_dividend, 0) as log_dividend,
        coalesce(later_events.log_split, 0) as later_log_split,
        coalesce(later_events.log_split + later_events.log_dividend, 0) as later_log_total
    from session_prices
    left join event_factors
        on event_factors.security_id = session_prices.security_id and event_factors.trade_date = session_prices.trade_date
    left join event_factors as later_events
        on later_events.security_id = session_prices.security_id and later_events.trade_date is null
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
    event_dividend_cash as dividend_cash,
    event_split_ratio as split_ratio,
    vendor_adj_close,
    known_from as answered_at,
    known_at,
    previous_close,
    sessions_missed,
    {{ round_stable('exp(coalesce(sum(log_split) over later, 0) + later_log_split)') }} as split_factor,
    {{ round_stable('exp(coalesce(sum(log_split + log_dividend) over later, 0) + later_log_total)') }} as total_return_factor
from prices_with_events
where trade_date >= from_date
window later as (
    partition by security_id order by trade_date desc rows between unbounded preceding and 1 preceding
)
