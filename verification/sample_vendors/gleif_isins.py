"""api.gleif.org: the issuers of some ISINs of PUMA and Microsoft, as of 2025-05-15 or of an earlier day. No other ISIN has an LEI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from verification.sample_vendors import gleif, sample
from verification.sample_vendors.wire import Answer, Request, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verification.sample_vendors.gleif import Row

PATH = "/api/v1/lei-records"
MEDIA_TYPE = "application/vnd.api+json"


def answer(request: Request) -> Answer:
    """Return the records of the entities that issued an ISIN."""
    isin = request.query.get("filter[isin]")
    if request.path != PATH or isin is None:
        return not_found()
    content = f"{min(request.today, gleif.LAST_CONTENT)}T00:00:00Z"
    leis = {row["lei"] for row in sample.table("gleif_isins") if row["isin"] == isin}
    rows = [row for row in gleif.select("lei2", content, "") if row["lei"] in leis]
    return Answer(200, document(rows, content), MEDIA_TYPE)


def document(rows: Sequence[Row], content: str, total: int | None = None) -> bytes:
    """Return an answer as GLEIF writes it, with fewer attributes. `total` is the number of records that it states."""
    first, last = (1, len(rows)) if rows else (None, None)
    pages = {"currentPage": 1, "perPage": 200, "from": first, "to": last, "total": len(rows) if total is None else total, "lastPage": 1}
    meta = {"goldenCopy": {"publishDate": content}, "pagination": pages}
    return json.dumps({"meta": meta, "data": [_write(row) for row in rows]}, separators=(",", ":")).encode()


def _write(row: Row) -> dict[str, object]:
    entity = {
        "legalName": {"name": row["legal_name"], "language": row["language"]},
        "jurisdiction": row["jurisdiction"],
        "category": row["category"],
        "status": row["status"],
    }
    registration = {"lastUpdateDate": row["updated"], "status": row["registration_status"], "managingLou": row["lou"]}
    attributes = {"lei": row["lei"], "entity": entity, "registration": registration}
    return {"type": "lei-records", "id": row["lei"], "attributes": attributes}
