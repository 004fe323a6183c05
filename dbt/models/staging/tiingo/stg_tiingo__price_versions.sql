select
    ticker,
    date as trade_date,
    {{ price_currency() }} as currency,
    closed_at = 'infinity' as is_current,
    known_from as known_at,
    closed_at
from {{ row_versions(source('tiingo', 'tiingo_prices')) }} as raw
