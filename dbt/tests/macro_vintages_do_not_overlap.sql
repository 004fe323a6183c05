select series_id, period, known_from, next_known_from
from (
    select
        series_id,
        period,
        known_from,
        known_to,
        lead(known_from) over (partition by series_id, period order by known_from) as next_known_from
    from {{ ref('fct_macro') }}
) as versions
where next_known_from < known_to
