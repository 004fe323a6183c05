{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ forget_restated() }}",
    indexes=[{'columns': ['known_date', 'dataset', 'subject', 'item', 'period_start', 'period_end'], 'unique': true}]
) }}

-- numbers that an issuer changed in a later filing, known from the session after it; versions of one measure alone are compared
with filed as (
    select
        known_from as known_date,
        'sec_company_facts' as dataset,
        'CIK ' || cik as subject,
        concept || ', ' || unit as item,
        period_start,
        period_end,
        lag(value) over versions as value_before,
        value as value_after,
        accession as origin
    from {{ ref('fct_fundamental') }}
    window versions as (partition by cik, concept, unit, period_start, period_end, measure order by known_from)
),

-- numbers that a vendor changed in a later answer, known from its commit; the last word of a day stands
sent as (
    select distinct on (dataset, row_key, item, (known_at at time zone 'UTC')::date)
        (known_at at time zone 'UTC')::date as known_date,
        dataset,
        row_key as subject,
        item,
        null::date as period_start,
        substring(row_key from '\d{4}-\d{2}-\d{2}')::date as period_end,
        value_before::numeric as value_before,
        value_after::numeric as value_after,
        lake_partition || coalesce(' commit ' || lake_commit, '') as origin
    from {{ ref('stg_lake__cells_restated') }}
    where
        value_before ~ '^-?[0-9.]+$'
        and coalesce(value_after, '0') ~ '^-?[0-9.]+$'
        {%- if changes_only() %}
        and known_at >= {{ first_new_day() }} at time zone 'UTC'
        {%- endif %}
    order by dataset, row_key, item, (known_at at time zone 'UTC')::date, known_at desc
),

changed as (
    select * from filed where value_before <> value_after
    union all
    select * from sent
)

select
    known_date,
    dataset,
    subject,
    item,
    period_start,
    period_end,
    value_before::numeric(38, 8) as value_before,
    value_after::numeric(38, 8) as value_after,
    {{ settled('value_after::float8 / nullif(value_before, 0)::float8 - 1', 12) }} as change,
    origin
from changed
