{#
    Return keys that occur twice or have a null outside the nullable columns. If a unique index and not-null constraints guarantee that
    there are none, the table is not read.
#}
{% test key(model, columns, nullable=[]) %}
select
    {{ columns | join(', ') }},
    count(*) as times_seen
from {{ rows_to_test(model) }} as tested_rows
{%- if has_unique_key(model, columns) %}
where {{ columns | join(' is null or ') }} is null
{%- endif %}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns if column not in nullable %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
