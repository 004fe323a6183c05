"""Parse Tiingo's JSON: one row per day, with prices as traded and as adjusted, dividends in USD per share and split ratios on ex-dates.

`split_to` and `split_from` are derived from the ratio, as a fraction: the decimal of 1-for-30 never ends.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.errors import BadDataError

from extract_tiingo_prices.ratio import split_ratio

if TYPE_CHECKING:
    from typing import Any

    from jobkit.contracts import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of each requested year that has prices, oldest day first.

    The response does not name its ticker, so the requested one is added. Tiingo writes a day as midnight UTC.
    Raises BadDataError (exit code 65) if the body is not a JSON list of days.
    """
    ticker = request.partitions[0].split("/")[0].removeprefix("ticker=")
    rows = lossless_json.decode(body, f"Tiingo's answer for {ticker}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("date"), str) for row in rows):
        raise BadDataError(f"Tiingo's answer for {ticker} is not a list of days with a date; it begins {body[:60]!r}")
    days = [{"ticker": ticker, **row, "date": row["date"].removesuffix("T00:00:00.000Z"), **_split(row)} for row in rows]
    days.sort(key=lambda row: row["date"])  # groupby would keep only the last part of a year that comes in two
    grouped = groupby(days, lambda row: f"ticker={ticker}/year={row['date'][:4]}")
    return {partition: lossless_json.build_columns(list(part)) for partition, part in grouped if partition in request.partitions}


def _split(row: dict[str, Any]) -> dict[str, str]:
    """Return the new shares of a split and the old shares that they replace; empty without a split or with an impossible ratio."""
    ratio = split_ratio(str(row.get("splitFactor")))
    return {} if ratio is None or ratio == 1 else {"split_to": str(ratio.numerator), "split_from": str(ratio.denominator)}
