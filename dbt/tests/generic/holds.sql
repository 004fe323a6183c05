{#
    Return the rows on which a condition is false, with the conditions that are. Null is not false. Most rows break none, so the conditions
    are a filter first.
#}
{% test holds(model, conditions) %}
{{ config(severity='warn') }}
select
    array_remove(array[
        {%- for condition in conditions %}
        case when ({{ condition }}) is false then {{ quoted_text(condition) }} end{{ ',' if not loop.last }}
        {%- endfor %}
    ], null) as broken,
    tested_rows.*
from {{ rows_to_test(model) }} as tested_rows
where
    {%- for condition in conditions %}
    ({{ condition }}) is false{{ ' or' if not loop.last }}
    {%- endfor %}
{% endtest %}
