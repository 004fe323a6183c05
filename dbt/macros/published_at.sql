{# The moment on which a day's figures are published: so many hours into that day, on the clock of a city. #}
{% macro published_at(day, time, city) -%}
    ({{ day }} + {{ time }}) at time zone '{{ city }}'
{%- endmacro %}
