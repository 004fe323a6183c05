{{ config(indexes=[{'columns': ['security_id', 'id_type', 'known_at'], 'unique': true}]) }}

with securities as (
    select
        security_id,
        {{ normalise_ticker('ticker') }} as symbol,
        cik,
        valid_from,
        valid_to
    from {{ ref('int_security_tickers') }}
),

-- OpenFIGI's answers are about the security that has the ticker when it answers. One that came before may be about the security that had
-- the ticker until then, so it is none about this one, even if it never changed
figis as (
    select
        securities.security_id,
        identifiers.id_type,
        identifiers.value,
        mappings.known_at,
        least(mappings.closed_at, securities.valid_to::timestamp at time zone 'America/New_York') as known_to
    from securities
    inner join {{ ref('stg_openfigi__mapping_versions') }} as mappings
        on
            {{ normalise_ticker('mappings.id_value') }} = securities.symbol
            and mappings.known_at >= securities.valid_from::timestamp at time zone 'America/New_York'
            and mappings.known_at < securities.valid_to::timestamp at time zone 'America/New_York'
    cross join lateral (
        values ('composite_figi', mappings.composite_figi), ('share_class_figi', mappings.share_class_figi)
    ) as identifiers (id_type, value)
    where mappings.id_type = 'TICKER' and mappings.exch_code = 'US'
),

candidates as (
    select * from figis where known_to > known_at
    union all
    select distinct
        securities.security_id,
        'lei' as id_type,
        entities.lei as value,
        entities.known_at,
        entities.known_to
    from securities
    inner join {{ ref('dim_legal_entity') }} as entities on entities.cik = securities.cik
),

intervals as (
    {{ change_intervals(['candidates'], ['security_id', 'id_type']) }}
),

figures as (
    select
        intervals.security_id,
        intervals.id_type,
        case when count(distinct candidates.value) = 1 then min(candidates.value) end as value,
        count(distinct candidates.value)::integer as match_count,
        case when count(distinct candidates.value) > 1 then string_agg(distinct candidates.value, ', ' order by candidates.value) end
            as candidates,
        intervals.known_at,
        least(intervals.known_to, {{ end_of_time() }} at time zone 'UTC') as known_to
    from intervals
    inner join candidates
        on
            candidates.security_id = intervals.security_id
            and candidates.id_type = intervals.id_type
            and candidates.known_at <= intervals.known_at
            and candidates.known_to > intervals.known_at
    group by intervals.security_id, intervals.id_type, intervals.known_at, intervals.known_to
)

{{ merge_versions('figures', ['security_id', 'id_type'], ['value', 'match_count', 'candidates']) }}
