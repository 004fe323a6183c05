{{ config(indexes=[{'columns': ['rate_name', 'rate_date', 'known_at'], 'unique': true}]) }}

with published as (
    select
        versions.*,
        -- the next business day of the bond market, which has no day on which the Fed is closed; a secured rate is not published on a
        -- Good Friday, even if bonds are traded until noon, so the stock exchange has to be open as well
        (
            (
                select min(sessions.session_date)
                from {{ ref('dim_calendar') }} as sessions
                where
                    sessions.calendar = 'SIFMA'
                    and sessions.session_date > versions.rate_date
                    and sessions.session_date <= versions.rate_date + 10
                    and (
                        versions.rate_name in ('EFFR', 'OBFR')
                        or exists (
                            select from {{ ref('dim_calendar') }} as exchange
                            where exchange.calendar = 'XNYS' and exchange.session_date = sessions.session_date
                        )
                    )
            ) + case when versions.rate_name in ('EFFR', 'OBFR') then time '09:00' else time '08:00' end
        ) at time zone 'America/New_York' as published_at
    from {{ ref('stg_nyfed__rate_versions') }} as versions
),

dated as (
    {{ date_versions(
        'published', ['rate_name', 'rate_date'],
        [
            'rate_pct', 'percentile_1_pct', 'percentile_25_pct', 'percentile_75_pct', 'percentile_99_pct', 'target_from_pct',
            'target_to_pct', 'volume_usd_bn'
        ]
    ) }}
)

select
    rate_name,
    rate_date,
    rate_pct,
    percentile_1_pct,
    percentile_25_pct,
    percentile_75_pct,
    percentile_99_pct,
    target_from_pct,
    target_to_pct,
    volume_usd_bn,
    null::numeric(12, 3) as volume_eur_bn,
    'New York Fed' as source,
    known_at,
    known_to
from dated
where known_to > known_at
union all
select
    'ESTR' as rate_name,
    rate_date,
    rate_pct,
    null as percentile_1_pct,
    percentile_25_pct,
    percentile_75_pct,
    null as percentile_99_pct,
    null as target_from_pct,
    null as target_to_pct,
    null as volume_usd_bn,
    volume_eur_bn,
    'ECB' as source,
    known_at,
    known_to
from {{ ref('int_euro_short_term_rates') }}
