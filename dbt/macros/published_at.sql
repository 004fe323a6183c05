{#
    When a day's figures are published, as timestamptz: at 16:00 in New York (the close of XNYS), at 16:00 in Frankfurt (ECB), at 18:00
    in New York (Treasury). `time` overrides the local time unless it is null, as on days of early close.
#}
{% macro published_at(calendar, day, time='null') -%}
    {%- set hour, city = {
        'XNYS': ('16:00', 'America/New_York'), 'TARGET': ('16:00', 'Europe/Berlin'), 'SIFMA': ('18:00', 'America/New_York')
    }[calendar] -%}
    ({{ day }} + coalesce({{ time }}, {{ quoted_text(hour) }}::time)) at time zone {{ quoted_text(city) }}
{%- endmacro %}
