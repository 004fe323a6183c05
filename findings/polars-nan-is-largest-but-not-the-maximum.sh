#!/usr/bin/env bash
# In polars 2.1.0 NaN is larger than every number where rows are compared, sorted or ranked, but max() leaves it out. Two ways to ask for the highest price give two answers.
#
# For [1.0, NaN, 3.0]: sort().last(), top_k(1) and quantile(1.0) are NaN, and the filter `price > 3` keeps a row; max(), cum_max().last() and max() in SQL are 3.0, while rolling_max is NaN
# again. The median is 3.0, not 2.0, because NaN counts as the largest of three.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$work/venv/bin/python" - <<'PY'
import math

import polars

prices = polars.DataFrame({"price": [1.0, math.nan, 3.0]})
price = prices["price"]
leave_out = {"max": price.max(), "cum_max": price.cum_max()[-1], "SQL max": polars.SQLContext(prices=prices).execute("select max(price) from prices").collect().item()}
keep = {"sort": price.sort()[-1], "top_k": price.top_k(1)[0], "quantile(1)": price.quantile(1.0), "rolling_max": price.rolling_max(3)[-1]}
above = prices.filter(polars.col("price") > 3).height
print("without NaN:", leave_out)
print("with NaN:", keep)
print("rows above 3:", above, "median:", price.median())
assert set(leave_out.values()) == {3.0}
assert all(math.isnan(value) for value in keep.values())
assert above == 1 and price.median() == 3.0
PY
