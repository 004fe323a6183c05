-- What the models call in DuckDB, so that each figure has the same digits as in Postgres (dbt/macros/round_stable.sql).
-- Postgres rounds doubles half to even, as a cast to bigint does here (round_even of DuckDB 1.5.5 does not above 1e15), and casts a double to
-- numeric by its 15 significant digits.

create macro round_stable(x, decimals) as case
    when decimals is null then format('{:.15g}', x)::float8
    when abs(x) < pow(10, 12 - decimals) then (x * pow(10, decimals))::bigint / pow(10, decimals)
    -- through text, because a division of decimals would round twice
    else round(format('{:.15g}', x)::decimal(38, 15), decimals)::varchar::float8
end;

create macro whole_number(x) as case
    when abs(x) < 90 then (x * 1e17::float8)::bigint::hugeint
    else replace(format('{:.15g}', x)::decimal(38, 17)::varchar, '.', '')::hugeint
end;

-- The standard deviation of whole numbers from their count, sum and sum of squares, as a whole number: Postgres rounds that of numerics to
-- 16 digits, which is as much. One step of Newton's method makes up for the bits that a double lacks.
create macro root(square) as sqrt(square::float8)::hugeint
    + round((square - sqrt(square::float8)::hugeint * sqrt(square::float8)::hugeint)::float8 / nullif(2 * sqrt(square::float8), 0))::hugeint;

-- Divisions of 128 bits are slow. After one return of 900 percent, n * squares would not fit: then the quotients are subtracted and corrected.
create macro variance(n, total, squares) as case
    when squares < 1e34::hugeint then (n * squares - total * total) // (n * (n - 1))
    else squares // (n - 1) - total * total // (n * (n - 1)) - (n * (squares % (n - 1)) < total * total % (n * (n - 1)))::hugeint
end;

-- Above returns of 10,000 percent the squares do not fit either: `approximate` is DuckDB's own deviation, in doubles. The list binds the
-- variance, which a macro would compute wherever it is named.
create macro deviation(n, total, squares, largest, approximate) as case
    when n > 1 and largest < 1e19 and abs(total) < 1e19
        then list_transform([variance(n, total, squares)], lambda square: coalesce(root(square), 0))[1]
    when n > 1 then round(approximate)::hugeint
end;

-- how many of the ordered bounds are not above x; null without bounds, as in Postgres
create macro width_bucket(x, bounds) as len(list_filter(bounds, lambda bound: bound <= x));
