{#
    The cells of a raw table that a later commit changed or took away, one row each, with the commit that did:
    row_key is what the contract's key says of the row (none of its columns is ever null), item the vendor's column. Left out are
    columns whose name begins with adj: a vendor's adjusted prices all change with every dividend. A table whose values are not to be shown
    gives no rows. Whether a value is a number says the type of its column, never the look of its text. `day` is the column of the key
    that has the row's date.
#}
{% macro restated(relation, key, day) -%}
    {%- if not is_loaded(relation) or not shows_values(relation) %}
    select
        null::text as dataset, null::timestamptz as known_at, null::text as row_key, null::date as row_date, null::text as item,
        null::text as value_before, null::text as value_after, null::boolean as is_number, null::text as lake_partition, null::integer as lake_commit
    where false
    {%- else %}
    select
        {{ quoted_text(relation.identifier) }} as dataset,
        was.known_to as known_at,
        concat_ws(' ', {% for column in key %}was.{{ quoted_name(column) }}::text{{ ', ' if not loop.last }}{% endfor %}) as row_key,
        was.{{ quoted_name(day) }} as row_date,
        cell.key as item,
        cell.value #>> '{}' as value_before,
        now_known.cells ->> cell.key as value_after,
        {{ is_number('cell.value') }}
            and (jsonb_typeof(now_known.cells -> cell.key) is distinct from 'number' or {{ is_number('now_known.cells -> cell.key') }})
            as is_number,
        coalesce(loads."partition", loads_before."partition") as lake_partition,
        loads."commit" as lake_commit
    from {{ relation }} as was
    -- offset 0 keeps it a lookup, and the row's JSON is made once for all its cells
    left join lateral (
        select to_jsonb(newer.*) as cells
        from {{ relation }} as newer
        where
            newer.known_from = was.known_to
            {%- for column in key %}
            and newer.{{ quoted_name(column) }} = was.{{ quoted_name(column) }}
            {%- endfor %}
        offset 0
    ) as now_known on true
    left join {{ source('lake', '_ledger') }} as loads_before on loads_before.load_id = was._load_id
    left join {{ source('lake', '_ledger') }} as loads
        on
            loads.dataset = loads_before.dataset
            and loads."partition" = loads_before."partition"
            and loads.known_at = was.known_to
    cross join lateral {{ cells('was', identified_by=key, each='jsonb_each') }} as cell
    where
        was.known_to {% if var('as_of') %}<= {{ as_of_literal() }}{% else %}< 'infinity'{% endif %}
        and cell.value #>> '{}' is distinct from now_known.cells ->> cell.key
        and cell.key not like 'adj%'
    {%- endif %}
{%- endmacro %}


{# Whether a JSON value is a number that the marts' numeric(38, 8) holds. #}
{% macro is_number(value) -%}
    case jsonb_typeof({{ value }}) when 'number' then abs(({{ value }})::numeric) < 1e30 else false end
{%- endmacro %}
