{#
    SEC forms that report on a period, with their amendments: annual, quarterly and transition reports, also those of foreign and
    Canadian issuers. Other forms (8-K, proxy statements, prospectuses) repeat or recast these figures.
#}
{% macro periodic_forms() -%}
    {%- set forms = [] -%}
    {%- for form in ['10-K', '10-KT', '10-Q', '10-QT', '20-F', '40-F', '6-K'] -%}
        {%- do forms.extend([form, form ~ '/A']) -%}
    {%- endfor -%}
    {{ return(forms) }}
{%- endmacro %}
