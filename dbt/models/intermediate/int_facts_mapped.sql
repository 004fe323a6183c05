with facts as (
    select
        facts.*,
        concept_map.concept,
        row_number() over (
            partition by
                facts.cik, concept_map.concept, facts.unit, facts.period_start, facts.period_end, facts.accession
            order by concept_map.priority
        ) as choice
    from {{ ref('stg_sec__company_facts') }} as facts
    inner join {{ ref('concept_map') }} as concept_map using (taxonomy, tag, unit)
    where facts.form in ('10-K', '10-K/A', '10-KT', '10-KT/A', '10-Q', '10-Q/A')
),

sessions as (
    select distinct trade_date from {{ ref('stg_tiingo__prices') }}
),

filing_days as (
    select distinct filed_date from facts
),

known as (
    select
        filing_days.filed_date,
        coalesce(
            (
                select min(sessions.trade_date)
                from sessions
                where
                    sessions.trade_date > filing_days.filed_date
                    and sessions.trade_date <= filing_days.filed_date + 7
            ),
            filing_days.filed_date + case extract(isodow from filing_days.filed_date) when 5 then 3 when 6 then 2 else 1 end
        ) as known_from
    from filing_days
)

select
    facts.cik,
    facts.concept,
    facts.unit,
    facts.period_start,
    facts.period_end,
    facts.value::numeric(38, 6) as value,
    facts.tag,
    facts.accession,
    facts.filed_date,
    known.known_from
from facts
inner join known using (filed_date)
where facts.choice = 1
