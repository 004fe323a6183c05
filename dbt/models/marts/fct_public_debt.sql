{{ config(indexes=[{'columns': ['debt_date', 'known_at'], 'unique': true}]) }}

with published as (
    select
        versions.*,
        (
            select min({{ published_at('SIFMA', 'sessions.session_date') }})
            from {{ ref('dim_calendar') }} as sessions
            where
                sessions.calendar = 'SIFMA'
                and sessions.session_date > versions.debt_date
                and sessions.session_date <= versions.debt_date + 10
        ) as published_at
    from {{ ref('stg_fiscaldata__debt_versions') }} as versions
),

dated as (
    {{ date_versions('published', ['debt_date'], ['held_by_public_usd', 'intragovernmental_usd', 'total_usd']) }}
)

select
    debt_date,
    held_by_public_usd,
    intragovernmental_usd,
    total_usd,
    known_at,
    known_to
from dated
where known_to > known_at
