select
    "T" as ticker,
    date as trade_date,
    o as open,
    h as high,
    l as low,
    c as close,
    v as volume,
    {{ price_currency() }} as currency,
    known_from
from {{ current_rows(source('massive', 'massive_daily_prices')) }} as raw
