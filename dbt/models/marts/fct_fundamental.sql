{{ config(indexes=[{'columns': ['cik', 'concept', 'unit', 'period_end', 'period_start', 'known_from'], 'unique': true}]) }}

-- of two filings known from the same session, take the later one
with latest_filings as (
    select distinct on (cik, concept, unit, period_start, period_end, known_from) *
    from {{ ref('int_facts_mapped') }}
    order by cik, concept, unit, period_start, period_end, known_from, filed_date desc, accession desc, priority, value
),

fact_values as (
    select
        *,
        lag(value) over versions as previous_value,
        lag(measure) over versions as previous_measure
    from latest_filings
    window versions as (partition by cik, concept, unit, period_start, period_end order by known_from)
)

select
    cik,
    concept,
    period_start,
    period_end,
    unit,
    value,
    accession,
    tag,
    filed_date,
    known_from,
    least(
        lead(known_from, 1, {{ end_of_time() }}) over (
            partition by cik, concept, unit, period_start, period_end order by known_from
        ),
        usable_to
    ) as known_to,
    measure,
    form
from fact_values
where value is distinct from previous_value or measure is distinct from previous_measure
