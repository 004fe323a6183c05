{# The currency of all prices: Tiingo and Massive quote US securities in it. As of a moment, only its exchange rates are read. #}
{% macro price_currency() -%}
    {{ quoted_text('USD') }}
{%- endmacro %}
