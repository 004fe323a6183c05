-- a figure per share does not say of which share it is: it is of the one common share that an issuer lists, or of shares that people state
with securities as (
    select * from {{ ref('int_securities') }}
),

listed as (
    select distinct
        coalesce(history.successor_cik, filers.cik) as cik,
        {{ normal_ticker('filers.ticker') }} as symbol
    from {{ ref('stg_sec__filers') }} as filers
    left join {{ ref('issuer_history') }} as history on history.cik = filers.cik
),

-- symbols that may be common stock by their spelling, and that nobody has stated to be anything else
possibly_common as (
    select
        listed.cik,
        listed.symbol
    from listed
    where
        {{ security_kind(
            'listed.symbol',
            'exists (select from listed as base where base.cik = listed.cik and base.symbol = left(listed.symbol, 4))'
        ) }} not in ('preferred', 'warrant', 'unit', 'right', 'fund')
        and not exists (
            select from {{ ref('security_terms') }} as terms
            where
                starts_with(terms.security_id, listed.symbol || '.')
                and terms.security_type in ('preferred', 'warrant', 'unit', 'right', 'fund', 'unknown')
        )
),

rivals as (
    select
        securities.ticker,
        securities.valid_from,
        count(*) as rival_count
    from securities
    inner join possibly_common using (cik)
    where possibly_common.symbol <> securities.listed_symbol
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
        when securities.security_type = 'common' and rivals.rival_count is null then 1
    end as per_share_ratio,
    case
        when securities.cik is null then 'no_filer'
        when securities.security_type in ('preferred', 'warrant', 'unit', 'right', 'fund') then 'not_common_stock'
        when securities.per_share_ratio is not null then null
        when securities.security_type = 'adr' then case when securities.adr_ratio is null then 'adr_ratio_unknown' end
        when rivals.rival_count > 0 then 'several_classes'
        when securities.security_type <> 'common' then 'security_type_unknown'
    end as null_reason
from securities
left join rivals using (ticker, valid_from)
