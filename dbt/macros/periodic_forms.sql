{#
    Forms that report on a period, with their amendments: annual and quarterly reports, those of foreign issuers and of Canadian ones,
    and transition reports. Other forms repeat or recast what these report (8-K, proxy statements, prospectuses).
#}
{% macro periodic_forms() -%}
    {%- set forms = [] -%}
    {%- for form in ['10-K', '10-KT', '10-Q', '10-QT', '20-F', '40-F', '6-K'] -%}
        {%- do forms.extend([form, form ~ '/A']) -%}
    {%- endfor -%}
    {{ return(forms) }}
{%- endmacro %}
