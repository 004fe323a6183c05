{{ config(indexes=[{'columns': ['series_id', 'period', 'known_from'], 'unique': true}]) }}

with versions as (
    select
        *,
        lag(value) over earlier_versions as value_before,
        lag(unit) over earlier_versions as unit_before,
        lag(frequency) over earlier_versions as frequency_before,
        -- the first value comes after no other; null is not counted
        count(value) over (
            partition by series_id, period order by known_from rows between unbounded preceding and 1 preceding
        ) as earlier_values
    from {{ ref('fct_macro') }}
    window earlier_versions as (partition by series_id, period order by known_from)
),

revisions as (
    select
        *,
        coalesce(unit <> unit_before, false) or coalesce(frequency <> frequency_before, false) as is_redefined
    from versions
    where earlier_values > 0 and value is distinct from value_before
)

select
    series_id,
    period,
    known_from,
    vintage_date,
    (row_number() over (partition by series_id, period order by known_from))::integer as revision_number,
    case
        when value is null then 'withdrawn'
        when value_before is null then 'restored'
        when is_redefined then 'redefined'
        else 'revised'
    end as kind,
    value_before::numeric(38, 12) as value_before,
    value::numeric(38, 12) as value_after,
    case when not is_redefined then value - value_before end::numeric(38, 12) as change,
    unit
from revisions
