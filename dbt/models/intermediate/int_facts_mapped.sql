with facts as (
    select
        facts.*,
        coalesce(history.successor_cik, facts.cik) as issuer_cik,
        concept_map.concept,
        row_number() over (
            partition by
                facts.cik, concept_map.concept, facts.unit, facts.period_start, facts.period_end, facts.accession
            order by concept_map.priority
        ) as choice
    from {{ ref('stg_sec__company_facts') }} as facts
    inner join {{ ref('concept_map') }} as concept_map using (taxonomy, tag, unit)
    left join {{ ref('issuer_history') }} as history on history.cik = facts.cik
    where facts.form in ('10-K', '10-K/A', '10-KT', '10-KT/A', '10-Q', '10-Q/A')
),

-- the time of acceptance is not to be trusted (SEC writes New York's clock as UTC), the day of filing is
known as materialized (
    select
        filing_days.filed_date,
        min(calendar.session_date) as known_from
    from (select distinct filed_date from facts) as filing_days
    inner join {{ ref('dim_calendar') }} as calendar
        on
            calendar.calendar = 'XNYS'
            and calendar.session_date > filing_days.filed_date
            and calendar.session_date <= filing_days.filed_date + 10
    group by filing_days.filed_date
)

select
    facts.issuer_cik as cik,
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
