-- each field by its own form: whatever else is wrong with the row, it is why the row is there
with quarantined as (
    select
        substring("partition" from '^ticker=([^/]+)/') as ticker,
        substring(raw_row::text from '"date": ?"([0-9-]{10})"') as day,
        substring(raw_row::text from '"divCash": ?"([0-9]{1,8}(\.[0-9]{1,40})?)"')::numeric as dividend_cash,
        substring(raw_row::text from '"splitFactor": ?"([0-9]{1,9}(\.[0-9]{1,40})?)"')::numeric as split_factor,
        substring(raw_row::text from '"split_to": ?"([0-9]{1,18})"')::bigint as split_to,
        substring(raw_row::text from '"split_from": ?"([0-9]{1,18})"')::bigint as split_from,
        row_number,
        known_from
    from {{ rows_known(source('lake', '_quarantine')) }} as raw
    where dataset = 'tiingo_prices'
),

dated as (
    select
        ticker,
        {{ day_or_null('day') }} as ex_date,
        dividend_cash,
        split_factor,
        split_to,
        split_from,
        row_number,
        known_from
    from quarantined
)

select *
from dated
where ticker is not null and ex_date is not null and (dividend_cash <> 0 or split_factor <> 1)
