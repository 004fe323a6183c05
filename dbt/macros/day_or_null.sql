{# A text as a date where it is one, null where not: 2013-02-30 has the form of a day and is none. #}
{% macro day_or_null(text) -%}
    case
        when
            {{ text }} ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
            and left({{ text }}, 4) > '0000'
            then
                case
                    when right({{ text }}, 2)::integer <= extract(day from (left({{ text }}, 7) || '-01')::date + interval '1 month - 1 day')
                        then {{ text }}::date
                end
    end
{%- endmacro %}
