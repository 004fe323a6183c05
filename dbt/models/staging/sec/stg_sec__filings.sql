select
    cik,
    "accessionNumber" as accession,
    form,
    core_type,
    "filingDate" as filed_date,
    "reportDate" as report_date,
    "acceptanceDateTime" as acceptance_text,
    act,
    "fileNumber" as file_number,
    "filmNumber" as film_number,
    items,
    size as size_bytes,
    "isXBRL" as is_xbrl,
    "isInlineXBRL" as is_inline_xbrl,
    "primaryDocument" as primary_document,
    "primaryDocDescription" as primary_document_description,
    known_from
from {{ current_rows(source('sec', 'sec_filings')) }} as raw
