{#
    A double without the noise of its last bits, so that the same inputs print the same on every machine:
    to so many decimals, or to the fifteen digits that a double can hold.
#}
{% macro settled(expression, decimals=none) -%}
    {%- if decimals is none -%}
        ({{ expression }})::numeric::float8
    {%- else -%}
        round(({{ expression }})::numeric, {{ decimals }})::float8
    {%- endif -%}
{%- endmacro %}
