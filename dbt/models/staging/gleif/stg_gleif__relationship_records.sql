select
    content_date,
    file_kind,
    record_number,
    start_node_id as child_lei,
    end_node_id as parent_lei,
    relationship_type,
    relationship_status,
    registration_status,
    relationship_periods,
    deleted_at
from {{ current_rows(source('gleif', 'gleif_relationships')) }} as raw
