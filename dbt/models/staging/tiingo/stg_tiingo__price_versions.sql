select
    ticker,
    date as trade_date,
    {{ price_currency() }} as currency,
    closed_at = 'infinity' as is_current
from {{ row_versions(source('tiingo', 'tiingo_prices')) }} as raw
