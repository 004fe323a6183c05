with entries as (
    select *
    from {{ ref('stg_sec__insider_entry_versions') }}
    where closed_at = 'infinity'
),

filings as (
    select distinct
        accession,
        issuer_cik,
        owner_ciks,
        split_part(form, '/', 1) as base_form,
        form like '%/A' as is_amendment,
        filed_date,
        original_filed_date,
        accepted_at
    from entries
),

-- an amendment states the day of the original and not its number
originals as (
    select
        amendments.accession,
        count(candidates.accession) as original_count,
        min(candidates.accession) as first_original
    from filings as amendments
    left join filings as candidates
        on
            amendments.issuer_cik = candidates.issuer_cik
            and amendments.owner_ciks = candidates.owner_ciks
            and amendments.base_form = candidates.base_form
            and amendments.original_filed_date = candidates.filed_date
            and (amendments.accepted_at, amendments.accession) > (candidates.accepted_at, candidates.accession)
            and not candidates.is_amendment
    where amendments.is_amendment
    group by amendments.accession
),

families as (
    select
        filings.accession,
        filings.accepted_at,
        filings.is_amendment,
        originals.original_count,
        case originals.original_count when 1 then originals.first_original end as amends,
        case
            when not filings.is_amendment then filings.accession
            when originals.original_count = 1 then originals.first_original
        end as original
    from filings
    left join originals on filings.accession = originals.accession
),

lines as (
    select
        accession,
        row(kind, security_title, transaction_date, transaction_code)::text as line,
        count(*) as line_count
    from entries
    where kind like '%Transaction'
    group by 1, 2
),

-- an amendment replaces an earlier filing if it has a line for each of its lines
replacements as (
    select
        earlier.accession,
        amendments.accession as replaced_by,
        amendments.accepted_at as replaced_at
    from families as earlier
    inner join families as amendments
        on
            earlier.original = amendments.original
            and (amendments.accepted_at, amendments.accession) > (earlier.accepted_at, earlier.accession)
    inner join lines as earlier_lines on earlier.accession = earlier_lines.accession
    left join lines as amended_lines on amendments.accession = amended_lines.accession and earlier_lines.line = amended_lines.line
    where amendments.is_amendment
    group by earlier.accession, amendments.accession, amendments.accepted_at
    having bool_and(coalesce(amended_lines.line_count, 0) >= earlier_lines.line_count)
),

first_replacements as (
    select distinct on (accession)
        accession,
        replaced_by,
        replaced_at
    from replacements
    order by accession, replaced_at, replaced_by
)

select
    families.accession,
    families.original_count,
    families.amends,
    case
        when not families.is_amendment then null
        else exists (
            select 1 from replacements where replacements.replaced_by = families.accession and replacements.accession = families.amends
        )
    end as is_replacement,
    first_replacements.replaced_by,
    first_replacements.replaced_at
from families
left join first_replacements on families.accession = first_replacements.accession
