{{ config(indexes=[{'columns': ['calendar', 'session_date'], 'unique': true}]) }}

with calendars (calendar, first_date) as (
    values ('XNYS', date '1962-01-01'), ('TARGET', date '1999-01-01'), ('SIFMA', date '1990-01-01')
),

weekdays as (
    select
        calendars.calendar,
        days.day::date as weekday
    from calendars
    cross join lateral generate_series(calendars.first_date, date '2035-12-31', interval '1 day') as days (day)
    where extract(isodow from days.day) < 6
)

select
    weekdays.calendar,
    weekdays.weekday as session_date,
    row_number() over (partition by weekdays.calendar order by weekdays.weekday)::integer as session_number,
    case weekdays.calendar
        {%- for calendar in ['XNYS', 'TARGET', 'SIFMA'] %}
        when {{ quoted_text(calendar) }} then {{ published_at(calendar, 'weekdays.weekday', 'closures.closes_at') }}
        {%- endfor %}
    end as published_at,
    closures.closes_at is not null as is_early_close
from weekdays
left join {{ ref('market_closures') }} as closures
    on closures.calendar = weekdays.calendar and closures.closure_date = weekdays.weekday
where closures.closure_date is null or closures.closes_at is not null
