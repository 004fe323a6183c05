{#
    A post-hook: drop the table or view that this model had under an earlier name, in the same transaction. Remove the call one version
    after the rename.
#}
{% macro drop_renamed(kind, name) -%}
    drop {{ kind }} if exists {{ this.include(identifier=false) }}.{{ quoted_name(name) }} cascade
{%- endmacro %}
