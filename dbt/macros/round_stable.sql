{#
    A double without the noise in its last bits, so that the same inputs give the same digits on every machine. Rounds to `decimals`,
    or else to the 15 significant digits that a double can hold.

    A cast to numeric and back takes ten times as long as rounding in floating point. Up to 12 digits, both give the same double: the
    scaled value and the scale are exact integers, and their quotient is the double nearest to the decimal. + 0 turns -0 into 0.
#}
{% macro round_stable(expression, decimals=none) -%}
    {%- if decimals is none -%}
        ({{ expression }})::numeric::float8
    {%- else -%}
        case
            when abs({{ expression }}) < 1e{{ 12 - decimals }}
                then round(({{ expression }}) * 1e{{ decimals }}::float8) / 1e{{ decimals }}::float8 + 0
            else round(({{ expression }})::numeric, {{ decimals }})::float8
        end
    {%- endif -%}
{%- endmacro %}


{#
    A double as a whole number of 1e-17, for sums and deviations over a window. Postgres adds up a window over doubles again for each
    row, but slides one over numerics: each row enters and leaves it once. Whole numbers are the fastest numerics.
#}
{% macro whole_number(expression) -%}
    case
        when abs({{ expression }}) < 90 then round(({{ expression }}) * 1e17::float8)::bigint::numeric
        else round(({{ expression }})::numeric * 1e17)
    end
{%- endmacro %}
