select curve_date, 'fct_yield' as mart from {{ ref('fct_yield') }} where curve_date = '2010-10-11'
union all
select curve_date, 'fct_curve_spread' from {{ ref('fct_curve_spread') }} where curve_date = '2010-10-11'
