-- match each field by itself, because the rest of a quarantined row may be invalid
with quarantined_rows as (
    select
        substring("partition" from '^ticker=([^/]+)/') as ticker,
        substring(raw_row::text from '"date": ?"([0-9-]{10})"') as day,
        substring(raw_row::text from '"divCash": ?"([0-9]{1,8}(\.[0-9]{1,40})?)"')::numeric as dividend_cash,
        substring(raw_row::text from '"splitFactor": ?"([0-9]{1,9}(\.[0-9]{1,40})?)"')::numeric as split_factor,
        substring(raw_row::text from '"split_to": ?"([0-9]{1,18})"')::bigint as split_to,
        substring(raw_row::text from '"split_from": ?"([0-9]{1,18})"')::bigint as split_from,
        row_number,
        known_from
    from {{ current_rows(source('lake', '_quarantine')) }} as raw
    where dataset = 'tiingo_prices'
),

dated_rows as (
    select
        ticker,
        {{ date_or_null('day') }} as ex_date,
        dividend_cash,
        split_factor,
        split_to,
        split_from,
        row_number,
        known_from
    from quarantined_rows
)

select *
from dated_rows
where ticker is not null and ex_date is not null and (dividend_cash <> 0 or split_factor <> 1)
