{# Rows on which one of the conditions is false, with the conditions they break. Unknown is not false. #}
{% test holds(model, conditions) %}
{{ config(severity='warn') }}
select *
from (
    select
        array_remove(array[
            {%- for condition in conditions %}
            case when ({{ condition }}) is false then {{ quoted_text(condition) }} end{{ ',' if not loop.last }}
            {%- endfor %}
        ], null) as broken,
        rows_held.*
    from {{ rows_to_test(model) }} as rows_held
) as judged
where cardinality(broken) > 0
{% endtest %}
