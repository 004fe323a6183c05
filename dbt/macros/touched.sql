{#
    Building only what new loads touch. transform-warehouse lists the loads that the marts do not have yet in ops.new_loads and
    sets changes_only; without that every model is built whole.
#}
{% macro changes_only() -%}
    {{ return(var('changes_only') and is_incremental()) }}
{%- endmacro %}


{#
    A raw table's rows that came with the new loads of its dataset, or were closed by them; _is_closed, as no vendor's column begins with
    an underscore.
#}
{% macro rows_touched(relation, dataset=none) -%}
    {%- set dataset = dataset or relation.identifier -%}
    {%- if not execute -%}
        {{ relation }}
    {%- elif not var('changes_only') or not is_loaded(relation) -%}
        (select {{ columns_declared(relation) }}, false as _is_closed limit 0)
    {%- else -%}
        (
            select *, known_to < 'infinity' as _is_closed
            from {{ relation }}
            where
                _load_id in (select load_id from ops.new_loads where dataset = {{ quoted_text(dataset) }})
                or (
                    known_to < 'infinity'
                    and known_to in (select known_at from ops.new_loads where dataset = {{ quoted_text(dataset) }})
                )
        )
    {%- endif -%}
{%- endmacro %}


{# Before rows are added: takes away those that are made again, in the same transaction. `touched` says which, as a condition on mine. #}
{% macro forget(touched) -%}
    {%- if var('changes_only') and load_relation(this) is not none and not flags.FULL_REFRESH -%}
        delete from {{ this }} as mine where {{ touched }}
    {%- elif load_relation(this) is not none and not flags.FULL_REFRESH -%}
        truncate {{ this }}
    {%- endif -%}
{%- endmacro %}


{% macro forget_touched() -%}
    {{ forget(
        'mine.trade_date >= (select min(from_date) from ' ~ ref('int_touched') ~ ')'
        ~ ' and exists (select from ' ~ ref('int_touched') ~ ' as touched where touched.ticker = mine.ticker and mine.trade_date >= touched.from_date)'
    ) }}
{%- endmacro %}


{# The same, from the beginning of the year of the first touched session. #}
{% macro forget_touched_years() -%}
    {{ forget(
        "mine.trade_date >= (select date_trunc('year', min(from_date)) from " ~ ref('int_touched') ~ ')'
        ~ ' and exists (select from ' ~ ref('int_touched') ~ ' as touched'
        ~ " where touched.ticker = mine.ticker and mine.trade_date >= date_trunc('year', touched.from_date))"
    ) }}
{%- endmacro %}


{% macro forget_days(dataset, day) -%}
    {{ forget('mine.' ~ quoted_name(day) ~ ' in (select day from ' ~ ref('stg_lake__touched') ~ ' where dataset = ' ~ quoted_text(dataset) ~ ')') }}
{%- endmacro %}


{# The first day of restatements that the new loads may change: a day's last word stands, so all of a day is made again. #}
{% macro first_new_day() -%}
    (select date_trunc('day', min(known_at) at time zone 'UTC') from ops.new_loads)
{%- endmacro %}


{# Vendors' restatements of those days, and all that issuers filed, which are few. #}
{% macro forget_restated() -%}
    {{ forget("mine.dataset = 'sec_company_facts' or mine.known_date >= " ~ first_new_day()) }}
{%- endmacro %}


{# The rows of a model that the new loads change, as a join on int_touched; with more before them as far as a window reaches. #}
{% macro join_touched(rows, column='from_date') -%}
    {%- if changes_only() -%}
        inner join {{ ref('int_touched') }} as touched
            on
                touched.ticker = {{ rows }}.ticker
                and {{ rows }}.trade_date >= touched.{{ column }}
                and {{ rows }}.trade_date >= (select min({{ column }}) from {{ ref('int_touched') }})
    {%- endif -%}
{%- endmacro %}


{# What a test has to look at: all rows, or those of the days that the new loads reach back to; `whole` may name a longer span, as year. #}
{% macro rows_to_test(relation, whole='day') -%}
    {%- set touched = ref('int_touched') -%}
    {%- if var('changes_only') and relation.identifier in ('int_prices_adjusted', 'fct_price_daily', 'fct_return_daily', 'fct_valuation_daily', 'fct_price_issue', 'fct_close_difference') -%}
        (
            select *
            from {{ relation }}
            where trade_date >= (select coalesce(min(date_trunc({{ quoted_text(whole) }}, from_date)), 'infinity') from {{ touched }})
        )
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}
