{#
    A unit of XBRL in the one spelling by which the project knows it: USD, shares, USD/shares, pure. Issuers and SEC's interfaces also
    write USD/Shares, usd/share, USD-per-shares, USDPerShare or iso4217:USD. A currency is kept, in capitals; GBp and the like are
    hundredths of one and stay as they are, as does every other unit.
#}
{% macro canonical_unit(unit) -%}
    {%- set spelling -%}
        regexp_replace(lower({{ unit }}), '(iso4217|xbrli):|\s', '', 'g')
    {%- endset -%}
    case
        when {{ unit }} in ('USD', 'shares', 'USD/shares') then {{ unit }}
        when {{ unit }} ~ '\m[A-Z]{2}[a-z](\M|[Pp]er)' then {{ unit }}
        when {{ spelling }} ~ '^shares?$' then 'shares'
        when {{ spelling }} = 'pure' then 'pure'
        when {{ spelling }} ~ '^[a-z]{3}$' then upper({{ spelling }})
        when {{ spelling }} ~ '^[a-z]{3}(/|[-_]?per[-_]?)shares?$' then upper(left({{ spelling }}, 3)) || '/shares'
        else {{ unit }}
    end
{%- endmacro %}
