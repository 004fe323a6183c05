{#
    When a vintage is known. FRED dates vintages by day, without a time, so a vintage counts as known from the next day on: a release of
    16:15 must not be known at the open. `known_to` is the first day on which it is no longer known, 9999-12-31 while it lasts.
#}
{% macro vintage_known_from(vintage_date) -%}
    {{ vintage_date }} + 1
{%- endmacro %}


{% macro vintage_known_to(last_vintage_date) -%}
    case when {{ last_vintage_date }} = {{ end_of_time() }} then {{ end_of_time() }} else {{ last_vintage_date }} + 2 end
{%- endmacro %}
