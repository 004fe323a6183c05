"""api.massive.com: the grouped daily bars of the market (here: four securities); the key is any but `refused`.

Weekends and holidays answer 200 without `results`; days before the sample (outside the plan) and after it (the future)
answer 403 NOT_AUTHORIZED. `request_id` is new with every answer, as it is with the vendor. No split lies in the sample,
so adjusted and raw prices are the same. `vw` and `n` are not known and left out, as the vendor does at times.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4
from zoneinfo import ZoneInfo

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, json_answer, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/([^/]+)")
OUTSIDE_PLAN = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://massive.com/pricing"


def answer(request: Request) -> Answer:
    """Return one bar per security for the day in the path."""
    asked = PATH.fullmatch(request.path)
    if asked is None:
        return not_found()
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip() if scheme == "Bearer" else request.query.get("apiKey", "")
    if key in {"", "refused"}:
        return _error(401, error="Unknown API Key" if key else "API Key was not provided")
    try:
        day = date.fromisoformat(asked[1]).isoformat()
    except ValueError:
        return _error(400, error="Could not parse the time parameter: 'date'. Use YYYY-MM-DD or Unix MS Timestamps")
    if not sample.FIRST_SESSION <= day <= sample.LAST_SESSION:
        return _error(403, status="NOT_AUTHORIZED", message=OUTSIDE_PLAN)
    return _grouped(by_session().get(day, {}), adjusted=request.query.get("adjusted", "true") != "false")


@cache
def by_session() -> Mapping[str, Mapping[str, sample.Bar]]:
    """Return the bars of each session by ticker."""
    sessions: dict[str, dict[str, sample.Bar]] = defaultdict(dict)
    for ticker, bars in sample.bars().items():
        for bar in bars:
            sessions[bar.session][ticker] = bar
    return sessions


def _grouped(bars: Mapping[str, sample.Bar], *, adjusted: bool) -> Answer:
    count = len(bars)
    head = f'"queryCount":{count},"resultsCount":{count},"adjusted":{json.dumps(adjusted)}'
    results = f',"results":[{",".join(_result(ticker, bar) for ticker, bar in bars.items())}]' if bars else ""
    body = f'{{{head}{results},"status":"OK","request_id":"{uuid4().hex}","count":{count}}}'
    return Answer(200, body.encode(), "application/json")


def _result(ticker: str, bar: sample.Bar) -> str:
    """Return a bar as the vendor writes it: volumes sometimes in scientific notation, the time of the close in New York."""
    closed_at = datetime.combine(date.fromisoformat(bar.session), time(16), ZoneInfo("America/New_York"))
    volume = Decimal(bar.volume).normalize()
    prices = f'"o":{bar.open},"c":{bar.close},"h":{bar.high},"l":{bar.low}'
    return f'{{"T":"{ticker}","v":{volume},{prices},"t":{int(closed_at.timestamp() * 1000)}}}'


def _error(code: int, *, status: str = "ERROR", **words: str) -> Answer:
    return json_answer(code, {"status": status, "request_id": uuid4().hex, **words})
