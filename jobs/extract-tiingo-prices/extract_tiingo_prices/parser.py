"""From Tiingo's JSON to columns: as traded, as adjusted, dividends in USD per share and split ratios on their ex-dates.

The split_to and split_from of a split are ours: the ratio as a fraction, because a decimal of 1-for-30 has no end.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.errors import BadDataError

from extract_tiingo_prices.ratio import split_ratio

if TYPE_CHECKING:
    from typing import Any

    from jobkit.contract import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Columns by ticker and year, oldest day first; nothing for a year without prices. Raises BadDataError on another document.

    The answer does not name its ticker, so the one asked for is added; midnight UTC in `date` is how Tiingo writes a day.
    """
    ticker = request.partitions[0].split("/")[0].removeprefix("ticker=")
    rows = lossless_json.decode(body, f"Tiingo's answer for {ticker}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("date"), str) for row in rows):
        raise BadDataError(f"Tiingo's answer for {ticker} is no list of days with a date; it begins {body[:60]!r}")
    days = [{"ticker": ticker, **row, "date": row["date"].removesuffix("T00:00:00.000Z"), **_split(row)} for row in rows]
    days.sort(key=lambda row: row["date"])  # a year that came in two parts would be its last one
    grouped = groupby(days, lambda row: f"ticker={ticker}/year={row['date'][:4]}")
    return {partition: lossless_json.build_columns(list(part)) for partition, part in grouped if partition in request.partitions}


def _split(row: dict[str, Any]) -> dict[str, str]:
    """The split of a day, new shares and the old ones they replace; empty where there is none, or a ratio that cannot be one."""
    ratio = split_ratio(str(row.get("splitFactor")))
    return {} if ratio is None or ratio == 1 else {"split_to": str(ratio.numerator), "split_from": str(ratio.denominator)}
