{#
    A query for the states of each key of a GLEIF dataset, with the time from which (known_at) and until which (known_to) each was known.
    `records` has one row per record of a file. Only records of files that were read as a whole count, and of several in a file the last.
    A state lasts until the next file with the key, or until a full file without it: such a key is gone.
#}
{% macro gleif_versions(records, dataset, key) -%}
    select
        *,
        least(
            lead(known_at) over (partition by {{ key | join(', ') }} order by content_date),
            next_full_known_at,
            {{ end_of_time() }} at time zone 'UTC'
        ) as known_to
    from (
        select distinct on ({{ key | join(', ') }}, content_date)
            records.*,
            files.known_at,
            files.next_full_known_at
        from {{ records }} as records
        inner join (
            select
                *,
                min(known_at) filter (where file_kind = 'full') over (
                    order by content_date rows between 1 following and unbounded following
                ) as next_full_known_at
            from {{ ref('stg_gleif__files') }}
            where dataset = {{ quoted_text(dataset) }}
        ) as files using (content_date, file_kind)
        order by {{ key | join(', ') }}, content_date, record_number desc
    ) as last_records
{%- endmacro %}
