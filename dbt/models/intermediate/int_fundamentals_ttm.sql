with flows as (
    select
        *,
        period_end - period_start + 1 as period_days
    from {{ ref('fct_fundamental') }}
    where period_start is not null and unit <> 'shares'
),

news as (
    select distinct cik, concept, unit, known_from from flows
),

-- what stood in the books on the day of each piece of news
snapshot as (
    select
        news.known_from as news_date,
        flows.*
    from news
    inner join flows using (cik, concept, unit)
    where
        flows.known_from <= news.known_from
        and flows.known_to > news.known_from
        and flows.period_end > news.known_from - 800
),

fiscal_years as (
    select distinct on (cik, concept, unit, news_date) *
    from snapshot
    where period_days between 350 and 380
    order by cik, concept, unit, news_date, period_end desc
),

years_to_date as (
    select distinct on (snapshot.cik, snapshot.concept, snapshot.unit, snapshot.news_date)
        snapshot.*
    from snapshot
    inner join fiscal_years using (cik, concept, unit, news_date)
    where
        snapshot.period_days < 350
        and snapshot.period_end > fiscal_years.period_end
        and abs(snapshot.period_start - fiscal_years.period_end - 1) <= 10
    order by snapshot.cik, snapshot.concept, snapshot.unit, snapshot.news_date, snapshot.period_end desc
),

prior_years_to_date as (
    select distinct on (snapshot.cik, snapshot.concept, snapshot.unit, snapshot.news_date)
        snapshot.*
    from snapshot
    inner join fiscal_years using (cik, concept, unit, news_date)
    inner join years_to_date using (cik, concept, unit, news_date)
    where
        abs(snapshot.period_start - fiscal_years.period_start) <= 10
        and abs(snapshot.period_end - (years_to_date.period_end - 365)) <= 10
    order by
        snapshot.cik, snapshot.concept, snapshot.unit, snapshot.news_date,
        abs(snapshot.period_end - (years_to_date.period_end - 365))
)

select
    news.cik,
    news.concept,
    news.unit,
    news.known_from,
    lead(news.known_from, 1, {{ end_of_time() }}) over (
        partition by news.cik, news.concept, news.unit order by news.known_from
    ) as known_to,
    coalesce(years_to_date.period_end, fiscal_years.period_end) as period_end,
    case
        when years_to_date.value is null then fiscal_years.value
        else fiscal_years.value + years_to_date.value - prior_years_to_date.value
    end as ttm_value,
    case
        when fiscal_years.value is null then 'no_fiscal_year'
        when years_to_date.value is not null and prior_years_to_date.value is null then 'no_prior_year_to_date'
    end as null_reason,
    fiscal_years.value as fiscal_year_value,
    fiscal_years.filed_date as fiscal_year_filed_date,
    years_to_date.value as year_to_date_value,
    years_to_date.filed_date as year_to_date_filed_date,
    prior_years_to_date.value as prior_year_to_date_value,
    prior_years_to_date.filed_date as prior_year_to_date_filed_date
from news
left join fiscal_years
    on
        fiscal_years.cik = news.cik and fiscal_years.concept = news.concept
        and fiscal_years.unit = news.unit and fiscal_years.news_date = news.known_from
left join years_to_date
    on
        years_to_date.cik = news.cik and years_to_date.concept = news.concept
        and years_to_date.unit = news.unit and years_to_date.news_date = news.known_from
left join prior_years_to_date
    on
        prior_years_to_date.cik = news.cik and prior_years_to_date.concept = news.concept
        and prior_years_to_date.unit = news.unit and prior_years_to_date.news_date = news.known_from
