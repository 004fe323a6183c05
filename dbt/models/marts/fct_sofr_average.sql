{{ config(indexes=[{'columns': ['value_date', 'known_at'], 'unique': true}]) }}

with published as (
    select
        *,
        (value_date + time '08:00') at time zone 'America/New_York' as published_at
    from {{ ref('stg_nyfed__sofr_average_versions') }}
),

dated as (
    {{ date_versions(
        'published', ['value_date'], ['average_30d_pct', 'average_90d_pct', 'average_180d_pct', 'index_value']
    ) }}
)

select
    value_date,
    average_30d_pct,
    average_90d_pct,
    average_180d_pct,
    index_value,
    known_at,
    known_to
from dated
where known_to > known_at
