select
    cik,
    taxonomy,
    tag,
    unit,
    start as period_start,
    "end" as period_end,
    val as value,
    accn as accession,
    form,
    filed as filed_date,
    known_from
from {{ current_rows(source('sec', 'sec_company_facts')) }} as raw
