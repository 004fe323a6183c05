{#
    A double without the noise in its last bits, so that the same inputs give the same digits on every machine. Rounds to `decimals`,
    or else to the 15 significant digits that a double can hold.
#}
{% macro round_stable(expression, decimals=none) -%}
    {%- if decimals is none -%}
        ({{ expression }})::numeric::float8
    {%- else -%}
        round(({{ expression }})::numeric, {{ decimals }})::float8
    {%- endif -%}
{%- endmacro %}
