{{ config(indexes=[{'columns': ['security_id', 'valid_from'], 'unique': true}]) }}

with identifiers as (
    select
        security_id,
        {%- for kind in ['composite_figi', 'share_class_figi', 'lei'] %}
        min(value) filter (where id_type = {{ quoted_text(kind) }}) as {{ kind }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('dim_security_identifier') }}
    where known_to >= {{ end_of_time() }}
    group by security_id
)

select
    tickers.security_id,
    tickers.ticker,
    tickers.name,
    tickers.currency,
    tickers.cik,
    tickers.security_type,
    tickers.share_class,
    tickers.adr_ratio,
    tickers.valid_from,
    tickers.valid_to,
    identifiers.composite_figi,
    identifiers.share_class_figi,
    identifiers.lei
from {{ ref('int_security_tickers') }} as tickers
left join identifiers using (security_id)
