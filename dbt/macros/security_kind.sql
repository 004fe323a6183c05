{#
    The kind of security that a symbol in normal form indicates: preferred, warrant, unit, right, common (with a class), adr, foreign
    (ordinary shares of a foreign issuer), fund, plain (no indication) or unknown. The fifth letter of Nasdaq and OTC symbols indicates
    the kind. Some of these letters may be part of the name: they count only if `has_base`, a condition, says that the issuer also has
    the symbol of the first four letters.
    Source: https://www.nasdaqtrader.com/Trader.aspx?id=FifthCharacterSymbols
#}
{% macro security_kind(symbol, has_base) -%}
    case
        when {{ symbol }} ~ '-P[A-Z]{0,2}$' then 'preferred'
        when {{ symbol }} ~ '-WT[A-Z]?$' then 'warrant'
        when {{ symbol }} ~ '-UN$' then 'unit'
        when {{ symbol }} ~ '-RI$' then 'right'
        when {{ symbol }} ~ '-[A-OQ-Z]$' then 'common'
        when {{ symbol }} ~ '-' then 'unknown'
        when {{ symbol }} ~ '^[A-Z]{4}Y$' then 'adr'
        when {{ symbol }} ~ '^[A-Z]{4}F$' then 'foreign'
        when {{ symbol }} ~ '^[A-Z]{4}X$' then 'fund'
        when {{ symbol }} !~ '^[A-Z]{5}$' then 'plain'
        when not coalesce({{ has_base }}, false) then 'plain'
        when {{ symbol }} ~ 'W$' then 'warrant'
        when {{ symbol }} ~ 'U$' then 'unit'
        when {{ symbol }} ~ 'R$' then 'right'
        when {{ symbol }} ~ '[MNOP]$' then 'preferred'
        else 'unknown'
    end
{%- endmacro %}
