-- what else is known of an auction, such as its announcement, has no result yet
select
    auction_date,
    cusip,
    security_type,
    security_term,
    issue_date,
    maturity_date,
    reopening = 'Yes' as is_reopening,
    inflation_index_security = 'Yes' as is_inflation_indexed,
    floating_rate = 'Yes' as is_floating_rate,
    offering_amt as offering_usd,
    total_tendered as total_tendered_usd,
    total_accepted as total_accepted_usd,
    soma_accepted as soma_accepted_usd,
    primary_dealer_accepted as primary_dealer_accepted_usd,
    direct_bidder_accepted as direct_bidder_accepted_usd,
    indirect_bidder_accepted as indirect_bidder_accepted_usd,
    bid_to_cover_ratio,
    coalesce(high_yield, high_investment_rate) as high_yield_pct,
    high_discnt_rate as high_discount_rate_pct,
    high_discnt_margin as high_discount_margin_pct,
    int_rate as coupon_pct,
    high_price as price_per_100,
    known_from as loaded_at,
    closed_at
from {{ row_versions(source('fiscaldata', 'fiscaldata_auctions')) }} as raw
where total_accepted is not null
