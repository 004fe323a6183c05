{{ config(indexes=[{'columns': ['release_id', 'release_date'], 'unique': true}]) }}

select
    dates.release_id,
    names.release_name,
    dates.release_date
from {{ ref('stg_fred__release_dates') }} as dates
left join (
    select distinct on (release_id)
        release_id,
        release_name
    from {{ ref('stg_fred__series_releases') }}
    order by release_id, vintage_date desc, release_name
) as names using (release_id)
