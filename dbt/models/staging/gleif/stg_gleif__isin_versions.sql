select
    isin,
    lei,
    legal_name,
    entity_status,
    registration_status,
    publish_date,
    known_from as known_at,
    closed_at
from {{ row_versions(source('gleif', 'gleif_isins')) }} as raw
