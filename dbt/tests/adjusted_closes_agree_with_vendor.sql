-- a warning: who is wrong, the vendor's adjusted closes or its dividends and splits, is for people to say
{{ config(severity='warn') }}

select * from {{ rows_to_test(ref('fct_price_issue')) }} as issues where issue = 'adjustment_differs'
