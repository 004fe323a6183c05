{%- set part = ['period_start', 'period_end', 'value', 'filed_date', 'measure', 'form'] -%}
-- a news date is one on which a number becomes known or is withdrawn
with flows as (
    select
        *,
        period_end - period_start + 1 as period_days,
        array_agg(known_from) over (partition by cik, concept, unit)
        || array_agg(known_to) filter (where known_to < {{ end_of_time() }}) over (partition by cik, concept, unit) as news_dates
    from {{ ref('fct_fundamental') }}
    where period_start is not null and unit <> 'shares'
),

-- the numbers known on each news date; the number that changed has a row even if it is no longer known
snapshot as (
    select
        flows.cik,
        flows.concept,
        flows.unit,
        news.news_date,
        {%- for column in part + ['period_days'] %}
        case when news.is_known then flows.{{ column }} end as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from flows
    cross join lateral (
        select distinct
            dates.news_date,
            flows.known_from <= dates.news_date
            and flows.known_to > dates.news_date
            and flows.period_end > dates.news_date - 800 as is_known
        from unnest(flows.news_dates) as dates (news_date)
    ) as news
    where news.is_known or news.news_date in (flows.known_from, flows.known_to)
),

-- each part comes from the first row of its order, if that row qualifies: one sort a part, however long the history
with_year as (
    select
        *,
        {%- for column in part %}
        first_value(case when is_year then {{ column }} end) over years as year_{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            coalesce(period_days between 350 and 380, false) as is_year
        from snapshot
    ) as candidates
    window years as (
        partition by cik, concept, unit, news_date
        order by is_year desc, period_end desc, abs(period_days - 365)
    )
),

with_year_to_date as (
    select
        *,
        {%- for column in part %}
        first_value(case when is_year_to_date then {{ column }} end) over years_to_date as ytd_{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            coalesce(
                period_days < 350 and period_end > year_period_end and abs(period_start - year_period_end - 1) <= 10, false
            ) as is_year_to_date
        from with_year
    ) as candidates
    window years_to_date as (
        partition by cik, concept, unit, news_date
        order by is_year_to_date desc, period_end desc, abs(period_start - year_period_end - 1)
    )
),

with_prior as (
    select
        *,
        {%- for column in part %}
        first_value(case when is_prior then {{ column }} end) over priors as prior_{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            coalesce(
                abs(period_start - year_period_start) <= 10 and abs(period_end - (ytd_period_end - 365)) <= 10, false
            ) as is_prior
        from with_year_to_date
    ) as candidates
    window priors as (
        partition by cik, concept, unit, news_date
        order by is_prior desc, abs(period_end - (ytd_period_end - 365)), abs(period_start - year_period_start)
    )
),

twelve_months as (
    select distinct on (cik, concept, unit, news_date)
        *,
        case
            when year_value is null then 'no_fiscal_year'
            when ytd_value is not null and prior_value is null then 'no_prior_year_to_date'
            when ytd_value is not null and (ytd_measure, prior_measure) is distinct from (year_measure, year_measure) then 'mixed_measures'
        end as null_reason
    from with_prior
    order by cik, concept, unit, news_date
)

select
    cik,
    concept,
    unit,
    news_date as known_from,
    lead(news_date, 1, {{ end_of_time() }}) over (partition by cik, concept, unit order by news_date) as known_to,
    coalesce(ytd_period_end, year_period_end) as period_end,
    case when null_reason is null then year_value + coalesce(ytd_value - prior_value, 0) end as ttm_value,
    null_reason,
    year_value as fiscal_year_value,
    year_filed_date as fiscal_year_filed_date,
    year_form as fiscal_year_form,
    ytd_value as year_to_date_value,
    ytd_filed_date as year_to_date_filed_date,
    prior_value as prior_year_to_date_value,
    prior_filed_date as prior_year_to_date_filed_date
from twelve_months
