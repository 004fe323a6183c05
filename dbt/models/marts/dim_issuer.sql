{{ config(indexes=[{'columns': ['filer_cik'], 'unique': true}]) }}

with filers as (
    select cik as filer_cik from {{ ref('stg_sec__company_facts') }}
    union
    select cik from {{ ref('stg_sec__filers') }}
),

names as (
    select distinct on (cik) cik, name
    from {{ ref('stg_sec__filers') }}
    order by cik, known_from desc, ticker
)

select
    filers.filer_cik,
    coalesce(history.successor_cik, filers.filer_cik) as cik,
    names.name
from filers
left join {{ ref('issuer_history') }} as history on history.cik = filers.filer_cik
left join names on names.cik = coalesce(history.successor_cik, filers.filer_cik)
