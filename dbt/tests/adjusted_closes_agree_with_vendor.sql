{{ config(severity='warn') }}

select * from {{ rows_to_test(ref('fct_price_issue')) }} as issues where issue = 'adjustment_differs'
