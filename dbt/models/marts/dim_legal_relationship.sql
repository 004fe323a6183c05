{{ config(indexes=[{'columns': ['child_lei', 'parent_lei', 'relationship_type', 'known_at'], 'unique': true}, {'columns': ['parent_lei']}]) }}

with relationships as (
    {{ gleif_versions(
        ref('stg_gleif__relationship_records'), 'gleif_relationships', ['child_lei', 'parent_lei', 'relationship_type']
    ) }}
),

-- the relationship's period is its validity; the others are those of the accounts, or of their filing
figures as (
    select
        relationships.child_lei,
        relationships.parent_lei,
        relationships.relationship_type,
        relationships.relationship_status,
        relationships.registration_status,
        {%- for name, kind in [('period', 'RELATIONSHIP_PERIOD'), ('accounting', 'ACCOUNTING_PERIOD')] %}
        {%- set of_kind = 'filter (where periods.kind = ' ~ quoted_text(kind) ~ ')' %}
        count(*) {{ of_kind }}::integer as {{ name }}_count,
        case when count(*) {{ of_kind }} = 1 then min(periods.start_day) {{ of_kind }} end as {{ name }}_start,
        case when count(*) {{ of_kind }} = 1 then min(periods.end_day) {{ of_kind }} end as {{ name }}_end,
        {%- endfor %}
        relationships.known_at,
        relationships.known_to
    from relationships
    left join lateral (
        select
            "PeriodType" as kind,
            {{ date_or_null('left("StartDate", 10)') }} as start_day,
            {{ date_or_null('left("EndDate", 10)') }} as end_day
        from jsonb_to_recordset(relationships.relationship_periods::jsonb) as stated ("PeriodType" text, "StartDate" text, "EndDate" text)
    ) as periods on true
    where relationships.deleted_at is null
    group by
        relationships.child_lei,
        relationships.parent_lei,
        relationships.relationship_type,
        relationships.relationship_status,
        relationships.registration_status,
        relationships.known_at,
        relationships.known_to
)

{{ merge_versions('figures', ['child_lei', 'parent_lei', 'relationship_type'], [
    'relationship_status', 'registration_status', 'period_start', 'period_end', 'period_count',
    'accounting_start', 'accounting_end', 'accounting_count'
]) }}
