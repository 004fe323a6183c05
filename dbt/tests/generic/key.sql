{# Rows that break the key of a model: a combination seen twice, or a null outside the columns that may be null. #}
{% test key(model, columns, nullable=[]) %}
select
    {{ columns | join(', ') }},
    count(*) as times_seen
from {{ rows_to_test(model) }} as rows_held
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns if column not in nullable %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
