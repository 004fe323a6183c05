{#
    A ticker in normal form, which is the same for all vendors' spellings: BRK-B for BRK.B, BRK/B and "BRK B"; BAC-PB for BACpB,
    BAC-P-B and BAC.PRB; -WT for a warrant, -UN for a unit, -RI for a right, -WI for when-issued. This is SEC's form, because its list
    names each kind. A lower-case letter is a suffix (BACpB) unless all letters are lower case, which no vendor writes. Sources: the
    vendors' symbols as received; the suffixes of NYSE's CMS and CQS symbols, https://www.nyse.com/publicdocs/nyse/data/NYSE_Symbology_Spec_v1.0c.pdf
#}
{% macro normalise_ticker(ticker) -%}
    {%- set steps = [
        ('^([A-Z0-9]+)p([A-Z]{0,2})$', '\\1-P\\2'),
        ('^([A-Z0-9]+)r$', '\\1-RI'),
        ('^([A-Z0-9]+)w$', '\\1-WI'),
        ('[./ _-]+', '-', 'g'),
        ('-P-?R?-?([A-Z])$', '-P\\1'),
        ('-W[ST]-?([A-Z]?)$', '-WT\\1'),
        ('-U$', '-UN'),
        ('-RT$', '-RI'),
    ] -%}
    {%- set form = namespace(sql="case when " ~ ticker ~ " ~ '[A-Z]' then " ~ ticker ~ " else upper(" ~ ticker ~ ") end") -%}
    {%- for step in steps -%}
        {%- for argument in step -%}
            {%- set form.sql = form.sql ~ ', ' ~ quoted_text(argument) -%}
        {%- endfor -%}
        {%- set form.sql = 'regexp_replace(' ~ form.sql ~ ')' -%}
    {%- endfor -%}
    case when {{ ticker }} ~ '^[A-Z0-9]+$' then {{ ticker }} else upper({{ form.sql }}) end
{%- endmacro %}
