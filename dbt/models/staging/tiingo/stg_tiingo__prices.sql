select
    ticker,
    date as trade_date,
    open,
    high,
    low,
    close,
    volume,
    {{ price_currency() }} as currency,
    "divCash" as dividend_cash,
    "splitFactor" as split_ratio,
    "adjClose" as vendor_adj_close,
    known_from
from {{ current_rows(source('tiingo', 'tiingo_prices')) }} as raw
