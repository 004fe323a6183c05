select
    dataset,
    content_date,
    file_kind,
    record_count,
    known_from as known_at
from {{ current_rows(source('gleif', 'gleif_files')) }} as raw
