{#
    An XBRL unit in the project's one spelling: USD, shares, USD/shares, pure. Issuers and SEC's interfaces also write USD/Shares,
    usd/share, USD-per-shares, USDPerShare or iso4217:USD. Currency codes become capitals. GBp and similar units are hundredths of a
    currency and stay unchanged, as do all other units.
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
