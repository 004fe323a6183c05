{{ config(indexes=[{'columns': ['security_id', 'id_type', 'known_at'], 'unique': true}]) }}

with securities as (
    select
        security_id,
        {{ normalise_ticker('ticker') }} as symbol,
        cik,
        valid_from,
        valid_to,
        security_known_at,
        greatest(security_known_at, issuer_known_at) as cik_known_at
    from {{ ref('int_security_tickers') }}
),

traded_years as (
    select
        securities.security_id,
        years.first_session,
        years.first_known_at
    from {{ ref('int_securities') }} as securities
    inner join {{ ref('int_ticker_years') }} as years
        on
            years.ticker = securities.ticker
            and make_date(years.price_year, 1, 1) >= securities.valid_from
            and make_date(years.price_year, 1, 1) < securities.valid_to
),


-- OpenFIGI's answers are about the security that has the ticker when it answers. One that came before may be about the security that had
-- the ticker until then, so it is none about this one, even if it never changed
answers as (
    select
        securities.security_id,
        securities.security_known_at,
        mappings.composite_figi,
        mappings.share_class_figi,
        mappings.known_at,
        least(mappings.closed_at, securities.valid_to::timestamp at time zone 'America/New_York') as known_to
    from securities
    inner join {{ ref('stg_openfigi__mapping_versions') }} as mappings
        on
            {{ normalise_ticker('mappings.id_value') }} = securities.symbol
            and mappings.known_at >= securities.valid_from::timestamp at time zone 'America/New_York'
            and mappings.known_at < securities.valid_to::timestamp at time zone 'America/New_York'
    where mappings.id_type = 'TICKER' and mappings.exch_code = 'US'
),

-- An answer is linked once we have a price from its day or before, which shows that the security had the ticker, or, where ticker_history
-- says so, any price
linked_answers as (
    select
        answers.security_id,
        answers.composite_figi,
        answers.share_class_figi,
        answers.known_to,
        greatest(
            answers.known_at,
            coalesce(
                min(traded_years.first_known_at) filter (
                    where traded_years.first_session <= (answers.known_at at time zone 'America/New_York')::date
                ),
                answers.security_known_at
            )
        ) as known_at
    from answers
    left join traded_years using (security_id)
    group by
        answers.security_id,
        answers.security_known_at,
        answers.composite_figi,
        answers.share_class_figi,
        answers.known_at,
        answers.known_to
),

figis as (
    select
        linked_answers.security_id,
        identifiers.id_type,
        identifiers.value,
        linked_answers.known_at,
        linked_answers.known_to
    from linked_answers
    cross join lateral (
        values ('composite_figi', linked_answers.composite_figi), ('share_class_figi', linked_answers.share_class_figi)
    ) as identifiers (id_type, value)
),

leis as (
    select distinct
        securities.security_id,
        'lei' as id_type,
        entities.lei as value,
        greatest(entities.known_at, securities.cik_known_at) as known_at,
        entities.known_to
    from securities
    inner join {{ ref('dim_legal_entity') }} as entities on entities.cik = securities.cik
),

share_classes as (
    select
        security_id as id,
        false as is_isin,
        value as share_class_figi,
        known_at,
        known_to
    from figis
    where id_type = 'share_class_figi' and known_to > known_at
    union all
    select
        id_value as id,
        true as is_isin,
        share_class_figi,
        known_at,
        closed_at as known_to
    from {{ ref('stg_openfigi__mapping_versions') }}
    where id_type = 'ID_ISIN'
),

share_class_intervals as (
    {{ change_intervals(['share_classes'], ['id', 'is_isin']) }}
),

only_share_classes as (
    select
        intervals.id,
        intervals.is_isin,
        min(share_classes.share_class_figi) as share_class_figi,
        intervals.known_at,
        intervals.known_to
    from share_class_intervals as intervals
    inner join share_classes
        on
            share_classes.id = intervals.id
            and share_classes.is_isin = intervals.is_isin
            and share_classes.known_at <= intervals.known_at
            and share_classes.known_to > intervals.known_at
    group by intervals.id, intervals.is_isin, intervals.known_at, intervals.known_to
    having count(distinct share_classes.share_class_figi) = 1
),

-- An ISIN is that of the security with the same share class, if each of the two has one only
isin_leis as (
    select
        securities.id as security_id,
        'lei' as id_type,
        case when issuers.registration_status in ('DUPLICATE', 'ANNULLED') then null else issuers.lei end as value,
        greatest(securities.known_at, isins.known_at, issuers.known_at) as known_at,
        least(securities.known_to, isins.known_to, issuers.closed_at) as known_to
    from only_share_classes as securities
    inner join only_share_classes as isins on isins.share_class_figi = securities.share_class_figi
    inner join {{ ref('stg_gleif__isin_versions') }} as issuers on issuers.isin = isins.id
    where not securities.is_isin and isins.is_isin
),

candidates as (
    select * from figis where known_to > known_at
    union all
    select * from leis where known_to > known_at
    union all
    select * from isin_leis where known_to > known_at
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
