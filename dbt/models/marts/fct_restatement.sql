{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_restatements() }}",
    indexes=[{'columns': ['known_date', 'dataset', 'subject', 'item', 'period_start', 'period_end'], 'unique': true}]
) }}

-- numbers that an issuer changed in a later filing, known from the next session; only versions of the same measure are compared
with filed_values as (
    select
        known_from as known_date,
        'CIK ' || cik as subject,
        concept || ', ' || unit as item,
        period_start,
        period_end,
        lag(value) over versions as value_before,
        value as value_after,
        accession as origin,
        cik,
        unit,
        lag(filed_date) over versions as filed_before,
        filed_date
    from {{ ref('fct_fundamental') }}
    window versions as (partition by cik, concept, unit, period_start, period_end, measure order by known_from)
),

splits as (
    select distinct
        securities.cik,
        actions.ex_date,
        actions.split_ratio
    from {{ ref('int_corporate_actions') }} as actions
    inner join {{ ref('int_securities') }} as securities using (security_id)
    where actions.split_ratio <> 1
),

-- a filing after a split states earlier periods in new shares, which is no restatement; figures per share are rounded to cents
filing_changes as (
    select filed_values.*
    from filed_values
    cross join lateral (
        select exp(sum(ln(splits.split_ratio)))::numeric as ratio
        from splits
        where
            (filed_values.unit = 'shares' or filed_values.unit like '%/shares')
            and splits.cik = filed_values.cik
            and splits.ex_date > filed_values.filed_before
            and splits.ex_date <= filed_values.filed_date
    ) as between_filings
    where
        filed_values.value_before <> filed_values.value_after
        and not coalesce(
            case
                when filed_values.unit = 'shares'
                    then abs(filed_values.value_after - filed_values.value_before * between_filings.ratio)
                        <= filed_values.value_before * between_filings.ratio * 0.001
                else abs(filed_values.value_after - filed_values.value_before / between_filings.ratio)
                    <= 0.005 * (1 + 1 / between_filings.ratio)
            end,
            false
        )
),

-- numbers that a vendor changed in a later response, known from its commit; of a day's changes, take the last. The key has the day of the
-- row; naming it, too, lets a query about one day as of a moment read the rows of that day
vendor_changes as (
    select distinct on (dataset, row_key, item, row_date, (known_at at time zone 'UTC')::date)
        (known_at at time zone 'UTC')::date as known_date,
        dataset,
        row_key as subject,
        item,
        null::date as period_start,
        row_date as period_end,
        case when is_number then value_before::numeric end as value_before,
        case when is_number then value_after::numeric end as value_after,
        lake_partition || coalesce(' commit ' || lake_commit, '') as origin
    from {{ ref('stg_lake__restated_cells') }}
    where
        is_number
        {%- if changes_only() %}
        and known_at >= {{ first_changed_day() }} at time zone 'UTC'
        and {{ in_changed_years('row_date') }}
        and row_date in ({{ changed_vendor_days() }})
        {%- endif %}
    order by dataset, row_key, item, row_date, (known_at at time zone 'UTC')::date, known_at desc
),

changes as (
    select
        known_date,
        'sec_company_facts' as dataset,  -- not before the windows, so that a query about another dataset skips them
        subject,
        item,
        period_start,
        period_end,
        value_before,
        value_after,
        origin
    from filing_changes
    union all
    select * from vendor_changes
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
    case when abs(value_before) >= 1e-8 then {{ round_stable('value_after::float8 / value_before::float8 - 1', 12) }} end as change,
    origin
from changes
where value_after::numeric(38, 8) is distinct from value_before::numeric(38, 8)
