{#
    A query for the cells of a raw table that a later commit changed or removed: one row each, with that commit.
    `row_key` is the row's key (its columns are never null), `item` the vendor's column, `day` the key column with the row's date.
    Columns that begin with adj are excluded: every dividend changes all of a vendor's adjusted prices. No rows if the table's
    classification forbids showing values. The column's type decides whether a value is a number, never the look of its text.
#}
{% macro restated_cells(relation, key, day) -%}
    {%- if not is_loaded(relation) or not may_show_values(relation) %}
    select
        null::text as dataset, null::timestamptz as known_at, null::text as row_key, null::date as row_date, null::text as item,
        null::text as value_before, null::text as value_after, null::boolean as is_number, null::text as lake_partition, null::integer as lake_commit
    where false
    {%- else %}
    select
        {{ quoted_text(relation.identifier) }} as dataset,
        earlier.known_to as known_at,
        concat_ws(' ', {% for column in key %}earlier.{{ quoted_name(column) }}::text{{ ', ' if not loop.last }}{% endfor %}) as row_key,
        earlier.{{ quoted_name(day) }} as row_date,
        cell.key as item,
        cell.value #>> '{}' as value_before,
        successor.cells ->> cell.key as value_after,
        {{ is_number('cell.value') }}
            and (jsonb_typeof(successor.cells -> cell.key) is distinct from 'number' or {{ is_number('successor.cells -> cell.key') }})
            as is_number,
        coalesce(later_load."partition", earlier_load."partition") as lake_partition,
        later_load."commit" as lake_commit
    from {{ relation }} as earlier
    -- offset 0 keeps this a lookup and builds the row's JSON once for all its cells
    left join lateral (
        select to_jsonb(later.*) as cells
        from {{ relation }} as later
        where
            later.known_from = earlier.known_to
            {%- for column in key %}
            and later.{{ quoted_name(column) }} = earlier.{{ quoted_name(column) }}
            {%- endfor %}
        offset 0
    ) as successor on true
    left join {{ source('lake', '_ledger') }} as earlier_load on earlier_load.load_id = earlier._load_id
    left join {{ source('lake', '_ledger') }} as later_load
        on
            later_load.dataset = earlier_load.dataset
            and later_load."partition" = earlier_load."partition"
            and later_load.known_at = earlier.known_to
    cross join lateral {{ unpivot('earlier', exclude=key, function='jsonb_each') }} as cell
    where
        earlier.known_to {% if var('as_of') %}<= {{ as_of_literal() }}{% else %}< 'infinity'{% endif %}
        and cell.value #>> '{}' is distinct from successor.cells ->> cell.key
        and cell.key not like 'adj%'
    {%- endif %}
{%- endmacro %}


{# Whether a JSON value is a number that fits into the marts' numeric(38, 8). #}
{% macro is_number(value) -%}
    case jsonb_typeof({{ value }}) when 'number' then abs(({{ value }})::numeric) < 1e30 else false end
{%- endmacro %}
