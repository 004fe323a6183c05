{{ config(indexes=[{'columns': ['accession', 'entry', 'known_at'], 'unique': true}, {'columns': ['issuer_cik', 'transaction_date']}]) }}

with transactions as (
    select
        *,
        accepted_at as published_at
    from {{ ref('stg_sec__insider_entry_versions') }}
    where kind like '%Transaction'
),

dated as (
    {{ date_versions(
        'transactions', ['accession', 'entry'],
        [
            'kind', 'issuer_cik', 'owner_ciks', 'period', 'original_filed_date', 'rule_10b5_1', 'security_title', 'transaction_date',
            'deemed_execution_date', 'transaction_code', 'transaction_timeliness', 'equity_swap_involved', 'shares', 'price_per_share',
            'total_value', 'acquired_disposed', 'shares_owned_following', 'value_owned_following', 'direct_indirect', 'nature_of_ownership',
            'conversion_or_exercise_price', 'exercise_date', 'expiration_date', 'underlying_title', 'underlying_shares', 'price_footnotes',
            'footnotes'
        ]
    ) }}
),

owners as (
    select
        accession,
        count(*) as owner_count,
        string_agg(owner_name, '; ' order by entry) as owner_names,
        bool_or(coalesce(is_director, false)) as is_director,
        bool_or(coalesce(is_officer, false)) as is_officer,
        bool_or(coalesce(is_ten_percent_owner, false)) as is_ten_percent_owner,
        bool_or(coalesce(is_other, false)) as is_other,
        string_agg(officer_title, '; ' order by entry) as officer_titles
    from {{ ref('stg_sec__insider_entry_versions') }}
    where kind = 'reportingOwner' and closed_at = 'infinity'
    group by accession
)

select
    dated.issuer_cik,
    dated.accession,
    dated.entry,
    dated.form,
    dated.filed_date,
    dated.period,
    dated.issuer_name,
    dated.issuer_symbol,
    dated.owner_ciks,
    owners.owner_names,
    owners.owner_count::integer as owner_count,
    owners.is_director,
    owners.is_officer,
    owners.is_ten_percent_owner,
    owners.is_other,
    owners.officer_titles,
    dated.kind = 'derivativeTransaction' as is_derivative,
    dated.security_title,
    dated.transaction_date,
    dated.deemed_execution_date,
    dated.transaction_code,
    dated.transaction_timeliness,
    dated.acquired_disposed,
    dated.shares,
    dated.price_per_share as price_usd,
    dated.total_value as total_value_usd,
    dated.shares_owned_following,
    dated.value_owned_following as value_owned_following_usd,
    dated.direct_indirect,
    dated.nature_of_ownership,
    dated.conversion_or_exercise_price as exercise_price_usd,
    dated.exercise_date,
    dated.expiration_date,
    dated.underlying_title,
    dated.underlying_shares,
    coalesce(dated.equity_swap_involved, false) as equity_swap_involved,
    dated.rule_10b5_1,
    dated.price_footnotes,
    dated.footnotes,
    dated.original_filed_date,
    amendments.original_count::integer as original_count,
    amendments.amends,
    amendments.is_replacement,
    case when amendments.replaced_at <= dated.known_to then amendments.replaced_by end as replaced_by,
    dated.known_at,
    least(dated.known_to, amendments.replaced_at) as known_to
from dated
left join owners on dated.accession = owners.accession
left join {{ ref('int_insider_amendments') }} as amendments on dated.accession = amendments.accession
where least(dated.known_to, amendments.replaced_at) > dated.known_at
