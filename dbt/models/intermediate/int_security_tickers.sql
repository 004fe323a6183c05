with securities as (
    select distinct on (security_id)
        *,
        min(first_session) over (partition by security_id) as first_traded,
        max(last_session) over (partition by security_id) as last_traded,
        min(first_known_at) over (partition by security_id) as security_known_at
    from {{ ref('int_securities') }}
    order by security_id, last_session desc, ticker
)

select
    securities.security_id,
    coalesce(history.ticker, securities.ticker) as ticker,
    securities.name,
    securities.currency,
    securities.cik,
    securities.security_type,
    securities.share_class,
    securities.adr_ratio,
    coalesce(history.valid_from, securities.first_traded) as valid_from,
    case
        when history.valid_to is not null then least(history.valid_to, {{ end_of_time() }})
        when securities.is_newest then {{ end_of_time() }}
        else securities.last_traded + 1
    end as valid_to,
    securities.security_known_at,
    securities.issuer_known_at
from securities
left join {{ ref('ticker_history') }} as history using (security_id)
