{{ config(indexes=[{'columns': ['lei', 'known_at'], 'unique': true}, {'columns': ['cik']}]) }}

with entities as (
    {{ gleif_versions(ref('stg_gleif__entity_records'), 'gleif_entities', ['lei']) }}
),

relationships as (
    {{ gleif_versions(
        ref('stg_gleif__relationship_records'), 'gleif_relationships', ['child_lei', 'parent_lei', 'relationship_type']
    ) }}
),

exceptions as (
    {{ gleif_versions(ref('stg_gleif__exception_records'), 'gleif_exceptions', ['lei', 'exception_category']) }}
),

-- who the parents are, and why none is named
statements as (
    select
        child_lei as lei,
        relationship_type = 'IS_DIRECTLY_CONSOLIDATED_BY' as is_direct,
        parent_lei,
        null as exception_reasons,
        known_at,
        known_to
    from relationships
    where
        relationship_type in ('IS_DIRECTLY_CONSOLIDATED_BY', 'IS_ULTIMATELY_CONSOLIDATED_BY')
        and relationship_status = 'ACTIVE'
        and deleted_at is null
    union all
    select
        lei,
        exception_category = 'DIRECT_ACCOUNTING_CONSOLIDATION_PARENT' as is_direct,
        null as parent_lei,
        exception_reasons,
        known_at,
        known_to
    from exceptions
    where deleted_at is null
),

intervals as (
    {{ change_intervals(['entities', 'statements'], ['lei']) }}
),

states as (
    select
        intervals.lei,
        intervals.known_at,
        intervals.known_to,
        entities.legal_name,
        entities.country,
        entities.jurisdiction,
        entities.entity_category,
        entities.entity_status,
        entities.registration_status,
        {{ date_or_null('left(entities.entity_expiration_date, 10)') }} as ended_on,
        entities.entity_expiration_reason as end_reason,
        entities.successor_leis,
        -- RA000665 is the SEC, which numbers filers (CIK) and series of funds (S000005113)
        case
            when entities.registration_authority_id = 'RA000665' and entities.registration_authority_entity_id ~ '^[0-9]{1,10}$'
                then entities.registration_authority_entity_id::bigint
        end as registered_cik,
        {%- for parent, condition in [('direct', 'is_direct'), ('ultimate', 'not is_direct')] %}
        count(distinct statements.parent_lei) filter (where {{ condition }}) as {{ parent }}_parent_count,
        min(statements.parent_lei) filter (where {{ condition }}) as {{ parent }}_parent_lei,
        min(statements.exception_reasons) filter (where {{ condition }}) as {{ parent }}_parent_exception{{ ',' if not loop.last }}
        {%- endfor %}
    from intervals
    inner join entities
        on
            entities.lei = intervals.lei
            and entities.known_at <= intervals.known_at
            and entities.known_to > intervals.known_at
    left join statements
        on
            statements.lei = intervals.lei
            and statements.known_at <= intervals.known_at
            and statements.known_to > intervals.known_at
    group by
        intervals.lei,
        intervals.known_at,
        intervals.known_to,
        entities.legal_name,
        entities.country,
        entities.jurisdiction,
        entities.entity_category,
        entities.entity_status,
        entities.registration_status,
        entities.entity_expiration_date,
        entities.entity_expiration_reason,
        entities.successor_leis,
        entities.registration_authority_id,
        entities.registration_authority_entity_id
),

figures as (
    select
        lei,
        legal_name,
        country,
        jurisdiction,
        entity_category,
        entity_status,
        registration_status,
        ended_on,
        end_reason,
        case when jsonb_array_length(successor_leis::jsonb) = 1 then successor_leis::jsonb ->> 0 end as successor_lei,
        coalesce(jsonb_array_length(successor_leis::jsonb), 0) as successor_count,
        -- such an LEI is no key of its entity: another one is, or none
        case when registration_status in ('DUPLICATE', 'ANNULLED') then null else coalesce(stated.cik, states.registered_cik) end as cik,
        {%- for parent in ['direct', 'ultimate'] %}
        case when {{ parent }}_parent_count = 1 then {{ parent }}_parent_lei end as {{ parent }}_parent_lei,
        {{ parent }}_parent_count::integer as {{ parent }}_parent_count,
        {{ parent }}_parent_exception,
        {%- endfor %}
        known_at,
        known_to
    from states
    left join {{ ref('issuer_lei') }} as stated using (lei)
)

-- other fields of a record may have changed, or a longer delta repeated it
{{ merge_versions('figures', ['lei'], [
    'legal_name', 'country', 'jurisdiction', 'entity_category', 'entity_status', 'registration_status',
    'ended_on', 'end_reason', 'successor_lei', 'successor_count', 'cik',
    'direct_parent_lei', 'direct_parent_count', 'direct_parent_exception',
    'ultimate_parent_lei', 'ultimate_parent_count', 'ultimate_parent_exception'
]) }}
