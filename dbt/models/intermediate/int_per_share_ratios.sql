-- a figure per share does not name its share: take the only common share that the issuer lists, or those stated in security_terms
with securities as (
    select * from {{ ref('int_securities') }}
),

sec_symbols as (
    select distinct
        coalesce(history.successor_cik, filers.cik) as cik,
        {{ normalise_ticker('filers.ticker') }} as symbol
    from {{ ref('stg_sec__filers') }} as filers
    left join {{ ref('issuer_history') }} as history on history.cik = filers.cik
),

-- symbols that may be common stock by their spelling, unless security_terms states otherwise
common_candidates as (
    select
        sec_symbols.cik,
        sec_symbols.symbol
    from sec_symbols
    where
        {{ security_kind(
            'sec_symbols.symbol',
            'exists (select from sec_symbols as base where base.cik = sec_symbols.cik and base.symbol = left(sec_symbols.symbol, 4))'
        ) }} not in ('preferred', 'warrant', 'unit', 'right', 'fund')
        and not exists (
            select from {{ ref('security_terms') }} as terms
            where
                starts_with(terms.security_id, sec_symbols.symbol || '.')
                and terms.security_type in ('preferred', 'warrant', 'unit', 'right', 'fund', 'unknown')
        )
),

other_candidates as (
    select
        securities.ticker,
        securities.valid_from,
        count(*) as other_count
    from securities
    inner join common_candidates using (cik)
    where common_candidates.symbol <> securities.listed_symbol
    group by securities.ticker, securities.valid_from
)

select
    securities.ticker,
    securities.security_id,
    securities.cik,
    securities.currency,
    securities.valid_from,
    securities.valid_to,
    coalesce(securities.per_share_ratio, securities.adr_ratio) is not null as is_stated,
    case
        when securities.security_type in ('preferred', 'warrant', 'unit', 'right', 'fund') then null
        when securities.per_share_ratio is not null then securities.per_share_ratio
        when securities.security_type = 'adr' then securities.adr_ratio
        when securities.security_type = 'common' and other_candidates.other_count is null then 1
    end as per_share_ratio,
    case
        when securities.cik is null then 'no_filer'
        when securities.security_type in ('preferred', 'warrant', 'unit', 'right', 'fund') then 'not_common_stock'
        when securities.per_share_ratio is not null then null
        when securities.security_type = 'adr' then case when securities.adr_ratio is null then 'adr_ratio_unknown' end
        when other_candidates.other_count > 0 then 'several_classes'
        when securities.security_type <> 'common' then 'security_type_unknown'
    end as null_reason
from securities
left join other_candidates using (ticker, valid_from)
