select
    content_date,
    file_kind,
    record_number,
    lei,
    exception_category,
    exception_reasons,
    deleted_at
from {{ current_rows(source('gleif', 'gleif_exceptions')) }} as raw
