select
    position_date,
    custodian,
    account,
    isin,
    quantity,
    price,
    market_value,
    currency,
    known_from
from {{ rows_known(source('custodian', 'custodian_positions')) }} as raw
