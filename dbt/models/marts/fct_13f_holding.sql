{{ config(indexes=[{'columns': ['accession', 'line', 'known_at'], 'unique': true}, {'columns': ['cik', 'period']}]) }}

with lines as (
    select
        *,
        accepted_at as published_at
    from {{ ref('stg_sec__13f_line_versions') }}
),

dated as (
    {{ date_versions(
        'lines', ['accession', 'line'],
        [
            'period', 'amendment_type', 'value_unit', 'value_per_share', 'name_of_issuer', 'title_of_class', 'cusip',
            'value_filed', 'amount', 'amount_type', 'put_call', 'investment_discretion', 'other_manager'
        ]
    ) }}
),

filings as (
    select distinct
        cik,
        period,
        accession,
        accepted_at,
        amendment_type
    from lines
),

-- the first restatement of the quarter after each filing
replaced as (
    select
        filings.accession,
        min(restatements.accepted_at) as replaced_at
    from filings
    inner join filings as restatements
        on
            filings.cik = restatements.cik
            and filings.period = restatements.period
            and (restatements.accepted_at, restatements.accession) > (filings.accepted_at, filings.accession)
    where restatements.amendment_type = 'RESTATEMENT'
    group by filings.accession
),

closed as (
    select
        dated.*,
        least(dated.known_to, replaced.replaced_at) as replaced_or_closed_at
    from dated
    left join replaced on dated.accession = replaced.accession
)

select
    cik,
    period,
    accession,
    line,
    cusip,
    name_of_issuer,
    title_of_class,
    put_call,
    amount,
    amount_type,
    value_filed * case value_unit when 'USD' then 1 when 'kUSD' then 1000 end as value_usd,
    value_filed,
    value_unit,
    value_per_share,
    investment_discretion,
    other_manager,
    amendment_type,
    known_at,
    replaced_or_closed_at as known_to
from closed
where
    replaced_or_closed_at > known_at
    and line > 0  -- line 0 is a filing without holdings
