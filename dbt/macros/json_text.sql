{#
    A JSON column as text that Postgres can read as jsonb. Rows stored by earlier versions contain NUL and lone surrogates as escapes
    (\u0000), which `->>` refuses. Write them as text (\\u0000), as the contract layer does now. A backslash starts an escape only if
    it is not escaped itself, so pairs of backslashes are skipped.
#}
{% macro sanitise_json(column) -%}
    regexp_replace({{ column }}::text, '(?<!\\)((?:\\\\)*)\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1\\\\u\2', 'g')
{%- endmacro %}


{# The first characters of a text; if it was longer, followed by a note of its length. #}
{% macro truncate_text(text, characters) -%}
    case
        when length({{ text }}) <= {{ characters }} then {{ text }}
        else left({{ text }}, {{ characters }}) || '... (cut, ' || length({{ text }}) || ' characters in the lake)'
    end
{%- endmacro %}
