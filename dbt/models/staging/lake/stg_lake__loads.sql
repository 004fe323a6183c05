{%- if not is_loaded(source('lake', '_ledger')) %}
select null::bigint as load_id, null::text as dataset, null::text as lake_partition, null::integer as lake_commit, null::timestamptz as known_at
where false
{%- else %}
select
    load_id,
    dataset,
    "partition" as lake_partition,
    "commit" as lake_commit,
    known_at
from {{ source('lake', '_ledger') }}
{%- endif %}
