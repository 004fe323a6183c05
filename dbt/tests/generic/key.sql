{# Return keys that occur twice or have a null outside the nullable columns. #}
{% test key(model, columns, nullable=[]) %}
select
    {{ columns | join(', ') }},
    count(*) as times_seen
from {{ rows_to_test(model) }} as tested_rows
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns if column not in nullable %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
