{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_sessions() }}",
    indexes=[{'columns': ['ticker', 'trade_date']}, {'columns': ['security_id', 'trade_date']}]
) }}

-- of a security with several tickers, the prices of the ticker with the newest session count
with superseded_prices as (
    select
        ticker,
        trade_date,
        row_number() over (partition by security_id, trade_date order by last_session desc, ticker) > 1 as is_superseded
    from (
        select
            securities.security_id,
            securities.ticker,
            securities.last_session,
            prices.trade_date
        from {{ ref('int_securities') }} as securities
        inner join {{ ref('stg_tiingo__prices') }} as prices
            on
                prices.ticker = securities.ticker
                and prices.trade_date >= securities.valid_from
                and prices.trade_date < securities.valid_to
        where securities.has_several_tickers
    ) as candidates
),

-- drop prices on days without a session: vendors have sent some on holidays
session_prices as materialized (
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
    where not exists (
        select 1 from superseded_prices as superseded
        where superseded.ticker = prices.ticker and superseded.trade_date = prices.trade_date and superseded.is_superseded
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

-- the factors of each span between two events, by the events' first sessions: one more factor than sessions if an event has none yet
security_factors as (
    select
        security_id,
        array_agg(trade_date order by trade_date) filter (where trade_date is not null) as event_dates,
        array_agg({{ round_stable('exp(coalesce(dated_log_split, 0) + later_log_split)') }} order by trade_date) as split_factors,
        array_agg({{ round_stable('exp(coalesce(dated_log_total, 0) + later_log_total)') }} order by trade_date) as total_return_factors
    from (
        select
            security_id,
            trade_date,
            sum(log_split) filter (where trade_date is not null) over from_last as dated_log_split,
            sum(log_split + log_dividend) filter (where trade_date is not null) over from_last as dated_log_total,
            coalesce(sum(log_split) filter (where trade_date is null) over one_security, 0) as later_log_split,
            coalesce(sum(log_split + log_dividend) filter (where trade_date is null) over one_security, 0) as later_log_total
        from event_factors
        window
            one_security as (partition by security_id),
            from_last as (partition by security_id order by trade_date desc)
    ) as events_with_later
    group by security_id
),

prices_with_span as (
    select
        *,
        width_bucket(session_prices.trade_date, security_factors.event_dates) as events_so_far
    from session_prices
    left join security_factors using (security_id)
)

select
    prices.security_id,
    prices.ticker,
    prices.trade_date,
    prices.open,
    prices.high,
    prices.low,
    prices.close,
    prices.volume,
    prices.currency,
    coalesce(on_session.dividend_cash, 0)::numeric(18, 10) as dividend_cash,
    coalesce(on_session.split_ratio, 1) as split_ratio,
    prices.vendor_adj_close,
    prices.known_from as answered_at,
    prices.known_at,
    prices.previous_close,
    prices.sessions_missed,
    coalesce(prices.split_factors[coalesce(prices.events_so_far, 0) + 1], 1) as split_factor,
    coalesce(prices.total_return_factors[coalesce(prices.events_so_far, 0) + 1], 1) as total_return_factor
from prices_with_span as prices
left join event_factors as on_session
    on on_session.security_id = prices.security_id and on_session.trade_date = prices.trade_date
where prices.trade_date >= prices.from_date
order by prices.security_id, prices.trade_date
