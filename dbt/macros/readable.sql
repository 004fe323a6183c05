{#
    A JSON column as JSON whose texts Postgres can read. The contract layer writes NUL and halves of surrogate pairs as text (\\u0000);
    rows stored by earlier versions hold them as escapes (\u0000), which `->>` refuses: here they become the same text. A backslash
    before such an escape belongs to it if it stands alone, so pairs of backslashes are skipped.
#}
{% macro readable_json(column) -%}
    regexp_replace({{ column }}::text, '(?<!\\)((?:\\\\)*)\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1\\\\u\2', 'g')
{%- endmacro %}


{# The text where it is a day that Postgres has, null otherwise: never a cast that fails. #}
{% macro iso_day(text) -%}
    case
        when {{ text }} !~ '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$' then null
        when right({{ text }}, 2)::int <= extract(day from (left({{ text }}, 7) || '-01')::date + interval '1 month - 1 day') then {{ text }}
    end
{%- endmacro %}


{# A text of at most so many characters; what was cut is said behind it. #}
{% macro cut(text, characters) -%}
    case
        when length({{ text }}) <= {{ characters }} then {{ text }}
        else left({{ text }}, {{ characters }}) || '... (cut, ' || length({{ text }}) || ' characters in the lake)'
    end
{%- endmacro %}
