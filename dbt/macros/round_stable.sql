{#
    A double without the noise in its last bits, so that the same inputs give the same digits on every machine. Rounds to `decimals`,
    or else to the 15 significant digits that a double can hold.

    A cast to numeric and back takes ten times as long as rounding in floating point. Up to 12 digits, both give the same double: the
    scaled value and the scale are exact integers, and their quotient is the double nearest to the decimal. + 0 turns -0 into 0.

    With the variable `engine: duckdb`, this and the macros below call functions that finelt/lake_marts/functions.sql defines in DuckDB,
    with the same results to the digit.
#}
{% macro round_stable(expression, decimals=none, engine=none) -%}
    {%- if (engine or var('engine')) == 'duckdb' -%}
        round_stable({{ expression }}, {{ 'null' if decimals is none else decimals }})
    {%- elif decimals is none -%}
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
    {%- if var('engine') == 'duckdb' -%}
        whole_number({{ expression }})
    {%- else -%}
        case
            when abs({{ expression }}) < 90 then round(({{ expression }}) * 1e17::float8)::bigint::numeric
            else round(({{ expression }})::numeric * 1e17)
        end
    {%- endif -%}
{%- endmacro %}


{# A double, rounded half to even to a bigint. DuckDB's round() rounds half away from zero; its cast is right. #}
{% macro round_to_bigint(expression) -%}
    {{ '(' if var('engine') == 'duckdb' else 'round(' }}{{ expression }})::bigint
{%- endmacro %}


{# The standard deviation of whole numbers over a window, from exact sums. DuckDB's own would convert each number to a double first. #}
{% macro deviation(expression, window) -%}
    {%- if var('engine') == 'duckdb' -%}
        deviation(
            count({{ expression }}) over {{ window }}, sum({{ expression }}) over {{ window }},
            sum(case when abs({{ expression }}) < 1e19 then {{ expression }} * {{ expression }} end) over {{ window }},
            max(abs({{ expression }})) over {{ window }}, stddev_samp({{ expression }}::float8) over {{ window }}
        )
    {%- else -%}
        stddev_samp({{ expression }}) over {{ window }}
    {%- endif -%}
{%- endmacro %}
