"""api.openfigi.com: some lines of IBM and Apple, by ISIN or by ticker and exchange. Any other identifier is not found.

An exchange whose code has not two letters is refused. The answers have the order of the questions and do not repeat them. Without a key
more than 10 questions are too many (413).
"""

from __future__ import annotations

import json

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, json_answer

PATH = "/v3/mapping"
WITH_KEY, WITHOUT_KEY = (  # the names are those that clients report; the sample never runs out
    {"ratelimit-limit": "25", "ratelimit-remaining": "24", "ratelimit-reset": seconds} for seconds in ("6", "60")
)
COLUMNS = {"ID_ISIN": "isin", "TICKER": "ticker", "ID_BB_GLOBAL": "figi", "COMPOSITE_ID_BB_GLOBAL": "compositeFIGI"}


def answer(request: Request) -> Answer:
    """Return one answer for each question."""
    if request.path != PATH or request.body is None:
        return json_answer(404, {"error": "Not found"})
    questions = json.loads(request.body)
    size, headers = (100, WITH_KEY) if request.headers.get("X-OPENFIGI-APIKEY") else (10, WITHOUT_KEY)
    if len(questions) > size:
        return json_answer(413, {"error": "Request payload too large."}, headers)
    return json_answer(200, [find(question) for question in questions], headers)


def find(question: dict[str, str]) -> dict[str, object]:
    """Return the answer to one question."""
    if len(question.get("exchCode", "US")) != len("US"):
        return {"error": "Invalid exchCode."}
    column = COLUMNS.get(question["idType"], "")
    rows = [row for row in sample.table("openfigi_lines") if row.get(column) == question["idValue"]]
    matches = [row for row in rows if question.get("exchCode", row["exchCode"]) == row["exchCode"]]
    if not matches:
        return {"warning": "No identifier found."}
    return {"data": [{name: value for name, value in row.items() if name != "isin"} for row in matches]}
