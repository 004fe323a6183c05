{#
    Incremental builds: rebuild only the rows that new loads change. transform-warehouse lists the loads that the marts do not contain
    yet in ops.new_loads and sets the var changes_only. Without it, every model is built in full.
    int_tickers_changed decides which sessions of which tickers change.
#}
{% macro changes_only() -%}
    {{ return(var('changes_only') and is_incremental()) }}
{%- endmacro %}


{#
    A raw table's rows that the new loads of its dataset added or closed, as a subquery; _is_closed says which. No vendor's column
    begins with an underscore. Empty in a full build.
#}
{% macro changed_rows(relation, dataset=none) -%}
    {%- set dataset = dataset or relation.identifier -%}
    {%- if not execute -%}
        {{ relation }}
    {%- elif not var('changes_only') or not is_loaded(relation) -%}
        (select {{ declared_columns(relation) }}, false as _is_closed limit 0)
    {%- else -%}
        (
            select *, known_to < 'infinity' as _is_closed
            from {{ relation }}
            where
                (
                    _load_id in (select load_id from ops.new_loads where dataset = {{ quoted_text(dataset) }})
                    or (
                        known_to < 'infinity'
                        and known_to in (select known_at from ops.new_loads where dataset = {{ quoted_text(dataset) }})
                    )
                )
                and {{ in_changed_leaves(relation, dataset) }}
        )
    {%- endif -%}
{%- endmacro %}


{#
    A condition that is true in the leaves of a raw table to which the new loads of a dataset belong, so that Postgres reads no others.
    A lake partition is in one leaf. Just true if the table is not partitioned by range or the ledger lacks a leaf.
#}
{% macro in_changed_leaves(relation, dataset) -%}
    {%- set bounds = run_query(
        'select distinct case when pg_get_partkeydef(inhparent) like ' ~ quoted_text('RANGE%') ~ ' then pg_get_partition_constraintdef(leaf.oid) end'
        ~ ' from ops.new_loads inner join ' ~ source('lake', '_ledger') ~ ' as ledger using (load_id)'
        ~ ' left join (pg_class as leaf inner join pg_inherits on inhrelid = leaf.oid) on leaf.relname = ledger.leaf'
        ~ ' and inhparent = to_regclass(' ~ quoted_text(relation.include(database=false)) ~ ')'
        ~ ' where new_loads.dataset = ' ~ quoted_text(dataset)
    ).columns[0].values() -%}
    {{ return('true' if none in bounds else '(' ~ (bounds | join(' or ') or 'false') ~ ')') }}
{%- endmacro %}


{#
    A pre-hook: delete the rows that the model is about to insert again, in the same transaction. `condition` selects them by the alias
    mart. A full build empties the table.
#}
{% macro delete_rows(condition) -%}
    {%- if var('changes_only') and load_relation(this) is not none and not flags.FULL_REFRESH -%}
        delete from {{ this }} as mart where {{ condition }}
    {%- elif load_relation(this) is not none and not flags.FULL_REFRESH -%}
        truncate {{ this }}
    {%- endif -%}
{%- endmacro %}


{# Delete each changed ticker's sessions from its first changed one on. #}
{% macro delete_changed_sessions() -%}
    {{ delete_rows(
        'mart.trade_date >= (select min(from_date) from ' ~ ref('int_tickers_changed') ~ ')'
        ~ ' and exists (select from ' ~ ref('int_tickers_changed') ~ ' as changed'
        ~ ' where changed.ticker = mart.ticker and mart.trade_date >= changed.from_date)'
    ) }}
{%- endmacro %}


{# Delete each changed ticker's sessions from the start of the year of its first changed one. #}
{% macro delete_changed_years() -%}
    {{ delete_rows(
        "mart.trade_date >= (select date_trunc('year', min(from_date)) from " ~ ref('int_tickers_changed') ~ ')'
        ~ ' and exists (select from ' ~ ref('int_tickers_changed') ~ ' as changed'
        ~ " where changed.ticker = mart.ticker and mart.trade_date >= date_trunc('year', changed.from_date))"
    ) }}
{%- endmacro %}


{# Delete the days of which a dataset has changed rows; `day` is the mart's column. #}
{% macro delete_changed_days(dataset, day) -%}
    {{ delete_rows(
        'mart.' ~ quoted_name(day) ~ ' in (select day from ' ~ ref('stg_lake__changed_rows') ~ ' where dataset = ' ~ quoted_text(dataset) ~ ')'
    ) }}
{%- endmacro %}


{#
    A condition that is true in the years of changed rows, of one dataset or of all, so that Postgres reads no other leaves. Postgres
    excludes leaves by constants better than by a subquery.
#}
{% macro in_changed_years(column, dataset=none) -%}
    {%- if not execute -%}
        {{ return('true') }}
    {%- endif -%}
    {%- set years = run_query(
        'select distinct extract(year from day)::integer from ' ~ ref('stg_lake__changed_rows') ~ ' where day is not null'
        ~ (' and dataset = ' ~ quoted_text(dataset) if dataset else '') ~ ' order by 1'
    ).columns[0].values() -%}
    {%- set spans = [] -%}
    {%- for year in years -%}
        {%- do spans.append(column ~ " between make_date(" ~ year ~ ", 1, 1) and make_date(" ~ year ~ ", 12, 31)") -%}
    {%- endfor -%}
    {{ return('(' ~ (spans | join(' or ') or 'false') ~ ')') }}
{%- endmacro %}


{# A condition: the column is a day of which the dataset has changed rows. #}
{% macro is_changed_day(dataset, day) -%}
    {{ day }} in (select changed.day from {{ ref('stg_lake__changed_rows') }} as changed where changed.dataset = {{ quoted_text(dataset) }})
{%- endmacro %}


{# Delete the differences between vendors of changed tickers, from their first changed session on, and those of changed days of Massive. #}
{% macro delete_changed_differences() -%}
    {{ delete_rows(
        '(mart.security_id, mart.trade_date) in ('
        ~ 'select earlier.security_id, earlier.trade_date from ' ~ this ~ ' as earlier'
        ~ ' inner join ' ~ ref('int_tickers_changed') ~ ' as changed'
        ~ ' on changed.ticker = earlier.ticker_tiingo and earlier.trade_date >= changed.from_date'
        ~ ' union all select earlier.security_id, earlier.trade_date from ' ~ this ~ ' as earlier'
        ~ ' inner join ' ~ ref('stg_lake__changed_rows') ~ ' as changed on changed.day = earlier.trade_date'
        ~ " where changed.dataset = 'massive_daily_prices')"
    ) }}
{%- endmacro %}


{# Delete the counts of a dataset's changed days. #}
{% macro delete_changed_row_counts() -%}
    {{ delete_rows(
        'exists (select from ' ~ ref('stg_lake__changed_rows') ~ ' as changed'
        ~ ' where changed.dataset = mart.dataset and changed.day = mart.row_date)'
    ) }}
{%- endmacro %}


{# Delete the years of tickers in which prices changed. #}
{% macro delete_changed_ticker_years() -%}
    {{ delete_rows('(mart.ticker, mart.price_year) in (' ~ changed_ticker_years() ~ ')') }}
{%- endmacro %}


{# A query for each ticker and year in which its prices changed. #}
{% macro changed_ticker_years() -%}
    select changed.subject, extract(year from changed.day) from {{ ref('stg_lake__changed_rows') }} as changed where changed.dataset = 'tiingo_prices'
{%- endmacro %}


{# Delete the dividends and splits of changed prices. #}
{% macro delete_changed_price_actions() -%}
    {{ delete_rows(
        '(mart.ticker, mart.ex_date) in (select changed.subject, changed.day from ' ~ ref('stg_lake__changed_rows') ~ ' as changed'
        ~ " where changed.dataset = 'tiingo_prices')"
    ) }}
{%- endmacro %}


{#
    Delete all restatements by issuers, which are few, and those by vendors from the first day of the new loads on rows of changed days.
#}
{% macro delete_changed_restatements() -%}
    {{ delete_rows(
        "mart.dataset = 'sec_company_facts' or mart.known_date >= " ~ first_changed_day()
        ~ ' and mart.period_end in (' ~ changed_vendor_days() ~ ')'
    ) }}
{%- endmacro %}


{# A query for the days of which a vendor's rows changed. #}
{% macro changed_vendor_days() -%}
    select changed.day from {{ ref('stg_lake__changed_rows') }} as changed where changed.dataset <> 'sec_company_facts'
{%- endmacro %}


{# The first UTC day of the new loads. Restatements are one row per day, so each day is rebuilt as a whole. #}
{% macro first_changed_day() -%}
    (select date_trunc('day', min(known_at) at time zone 'UTC') from ops.new_loads)
{%- endmacro %}


{#
    A join that keeps the rows of changed tickers from `column` on: from_date, the first changed session, or an earlier session as far
    as a window reaches back. `rows` is the alias of the rows. Nothing in a full build.
#}
{% macro join_changed_tickers(rows, column='from_date') -%}
    {%- if changes_only() -%}
        inner join {{ ref('int_tickers_changed') }} as changed
            on
                changed.ticker = {{ rows }}.ticker
                and {{ rows }}.trade_date >= changed.{{ column }}
                and {{ rows }}.trade_date >= (select min({{ column }}) from {{ ref('int_tickers_changed') }})
    {%- endif -%}
{%- endmacro %}


{# The rows that a test has to check: all of them, or those from the first changed session on. #}
{% macro rows_to_test(relation) -%}
    {%- set changed = ref('int_tickers_changed') -%}
    {%- set daily_models = [
        'int_prices_adjusted', 'fct_price_daily', 'fct_return_daily', 'fct_valuation_daily', 'fct_price_issue', 'fct_close_difference'
    ] -%}
    {%- if var('changes_only') and relation.identifier in daily_models -%}
        (
            select *
            from {{ relation }}
            where trade_date >= (select coalesce(min(from_date), 'infinity') from {{ changed }})
        )
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}
