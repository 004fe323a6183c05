select
    content_date,
    file_kind,
    record_number,
    lei,
    legal_name,
    legal_address_country as country,
    legal_jurisdiction as jurisdiction,
    entity_category,
    entity_status,
    registration_status,
    entity_expiration_date,
    entity_expiration_reason,
    successor_leis,
    registration_authority_id,
    registration_authority_entity_id
from {{ current_rows(source('gleif', 'gleif_entities')) }} as raw
