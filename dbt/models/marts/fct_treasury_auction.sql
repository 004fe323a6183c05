{{ config(indexes=[{'columns': ['auction_date', 'cusip', 'known_at'], 'unique': true}]) }}

with published as (
    select
        *,
        {{ published_at('SIFMA', 'auction_date') }} as published_at
    from {{ ref('stg_fiscaldata__auction_versions') }}
),

dated as (
    {{ date_versions(
        'published', ['auction_date', 'cusip'],
        [
            'security_type', 'security_term', 'issue_date', 'maturity_date', 'is_reopening', 'is_inflation_indexed',
            'is_floating_rate', 'offering_usd', 'total_tendered_usd', 'total_accepted_usd', 'soma_accepted_usd',
            'primary_dealer_accepted_usd', 'direct_bidder_accepted_usd', 'indirect_bidder_accepted_usd',
            'bid_to_cover_ratio', 'high_yield_pct', 'high_discount_rate_pct', 'high_discount_margin_pct', 'coupon_pct',
            'price_per_100'
        ]
    ) }}
)

select
    auction_date,
    cusip,
    security_type,
    security_term,
    issue_date,
    maturity_date,
    is_reopening,
    is_inflation_indexed,
    is_floating_rate,
    offering_usd,
    total_tendered_usd,
    total_accepted_usd,
    soma_accepted_usd,
    primary_dealer_accepted_usd,
    direct_bidder_accepted_usd,
    indirect_bidder_accepted_usd,
    bid_to_cover_ratio,
    high_yield_pct,
    high_discount_rate_pct,
    high_discount_margin_pct,
    coupon_pct,
    price_per_100,
    known_at,
    known_to
from dated
where known_to > known_at
