{#
    The moment on which a day's figures are published, on the clock of the place: New York at the close, Frankfurt at 16:00 (ECB),
    New York at 18:00 (Treasury). `time` is another hour for the day, null for the usual one.
#}
{% macro published_at(calendar, day, time='null') -%}
    {%- set hour, city = {
        'XNYS': ('16:00', 'America/New_York'), 'TARGET': ('16:00', 'Europe/Berlin'), 'SIFMA': ('18:00', 'America/New_York')
    }[calendar] -%}
    ({{ day }} + coalesce({{ time }}, {{ quoted_text(hour) }}::time)) at time zone {{ quoted_text(city) }}
{%- endmacro %}
