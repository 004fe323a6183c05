-- two branches, the second with a lookup, so that a filter by issuer uses the key of the raw table
with facts as (
    select
        facts.cik as issuer_cik,
        facts.*
    from {{ ref('stg_sec__company_facts') }} as facts
    where not exists (select from {{ ref('issuer_history') }} as history where history.cik = facts.cik)
    union all
    select
        history.successor_cik,
        facts.*
    from {{ ref('issuer_history') }} as history
    cross join lateral (
        select * from {{ ref('stg_sec__company_facts') }} as all_facts where all_facts.cik = history.cik offset 0
    ) as facts
),

-- SEC's time of acceptance is unreliable (New York time marked as UTC), so a fact is known from the session after its filing day;
-- impossible periods are excluded: a fact is about days up to its filing
mapped_facts as (
    select
        facts.issuer_cik as cik,
        concept_map.concept,
        {{ canonical_unit('facts.unit') }} as unit,
        facts.period_start,
        facts.period_end,
        facts.value::numeric(38, 6) as value,
        facts.taxonomy,
        facts.tag,
        facts.accession,
        facts.form,
        facts.filed_date,
        days.next_session as known_from,
        concept_map.unit as expected_unit,
        concept_map.priority,
        concept_map.use,
        facts.taxonomy = 'ifrs-full' as is_ifrs,
        case when concept_map.use in ('same', 'follows') then 0 else concept_map.priority end as measure_rank,
        round((facts.period_end - facts.period_start + 1) / 91.3125) as quarters
    from facts
    inner join {{ ref('concept_map') }} as concept_map using (taxonomy, tag)
    inner join {{ ref('int_next_sessions') }} as days on days.day = facts.filed_date
    where
        facts.form in ({% for form in periodic_forms() %}{{ quoted_text(form) }}{{ ', ' if not loop.last }}{% endfor %})
        and facts.period_end <= facts.filed_date
        and facts.period_end >= coalesce(facts.period_start, facts.period_end)
),

-- if a filing has a better tag for as recent a period, its lesser tag is another quantity; this is known from that filing on
ranked_facts as (
    select
        *,
        coalesce(max(period_end) over better_in_filing >= period_end, false) as has_better_in_filing,
        min(known_from) over better_of_issuer as better_known_from,
        min(known_from) over better_of_period as better_of_period_known_from
    from mapped_facts
    where regexp_replace(unit, '^[A-Z]{3}(?=$|/)', 'currency') = expected_unit
    window
        better_in_filing as (
            partition by cik, concept, is_ifrs, quarters, accession
            order by priority range between unbounded preceding and 1 preceding
        ),
        better_of_issuer as (
            partition by cik, concept, is_ifrs, quarters
            order by measure_rank range between unbounded preceding and 1 preceding
        ),
        better_of_period as (
            partition by cik, concept, is_ifrs, unit, period_start, period_end
            order by measure_rank range between unbounded preceding and 1 preceding
        )
),

facts_with_end as (
    select
        *,
        case use
            when 'until_reported' then better_known_from
            when 'until_beside'
                then min(case when has_better_in_filing then known_from end) over (partition by cik, concept, is_ifrs, quarters, priority)
        end as usable_to
    from ranked_facts
)

select
    cik,
    concept,
    unit,
    period_start,
    period_end,
    value,
    tag,
    priority,
    case
        when use not in ('same', 'follows') then taxonomy || ' ' || tag
        when is_ifrs then 'ifrs ' || concept
        else concept
    end as measure,
    accession,
    form,
    filed_date,
    known_from,
    usable_to
from facts_with_end
where
    (use = 'same' or not has_better_in_filing)
    and (usable_to is null or known_from < usable_to)
    and (better_of_period_known_from is null or known_from < better_of_period_known_from)
