{{ config(indexes=[{'columns': ['filer_cik'], 'unique': true}]) }}

with filers as (
    select
        cik as filer_cik,
        min(filed_date) as first_filed_date
    from (
        select cik, filed_date from {{ ref('stg_sec__company_facts') }}
        union all
        select cik, null from {{ ref('stg_sec__filers') }}
    ) as all_filers
    group by cik
),

names as (
    select distinct on (cik) cik, name
    from {{ ref('stg_sec__filers') }}
    order by cik, known_from desc, ticker
),

legal_entities as (
    select
        cik,
        case when count(*) = 1 then min(lei) end as lei,
        {%- for column in ['registration_status', 'entity_status', 'successor_lei'] %}
        case when count(*) = 1 then min({{ column }}) end as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('dim_legal_entity') }}
    where cik is not null and known_to >= {{ end_of_time() }}
    group by cik
)

select
    filers.filer_cik,
    coalesce(history.successor_cik, filers.filer_cik) as cik,
    names.name,
    filers.first_filed_date,
    legal_entities.lei,
    legal_entities.registration_status as lei_status,
    legal_entities.entity_status,
    legal_entities.successor_lei
from filers
left join {{ ref('issuer_history') }} as history on history.cik = filers.filer_cik
left join names on names.cik = coalesce(history.successor_cik, filers.filer_cik)
left join legal_entities on legal_entities.cik = coalesce(history.successor_cik, filers.filer_cik)
