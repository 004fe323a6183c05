"""GLEIF's list of LEI records, filtered by an ISIN. An answer does not say which ISIN a record is for, so each request has one.

The limit is 60 requests a minute.

Source: https://documenter.getpostman.com/view/7679680/SVYrrxuU
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client

BASE_URL = "https://api.gleif.org"
PATH = "/api/v1/lei-records"
IDENTIFIER = r"[A-Z][A-Z0-9_]*:[!-~]([ -~]*[!-~])?"
ISIN = "ID_ISIN"
PAGE_SIZE = 200  # the largest; the parser refuses an answer that has more
REQUESTS, PERIOD_S = 60, 60


def build_requests(*, identifiers: Sequence[str], **_: object) -> list[Request]:
    """Build one request per ISIN. Raises UsageError (exit code 2) for ISINs that are none."""
    from jobkit.identifiers import CHECKS, refuse_wrong  # noqa: PLC0415  describe checks none

    isins = list(dict.fromkeys(text.split(":")[1] for text in identifiers if text.startswith(f"{ISIN}:")))
    refuse_wrong("--identifiers", [f"{ISIN}:{isin} is {problem}" for isin in isins if (problem := CHECKS["isin"](isin))])
    return [Request("gleif_isins", (f"isin={isin}",), PATH, (("filter[isin]", isin), ("page[size]", str(PAGE_SIZE)))) for isin in isins]


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client with GLEIF's rate. Its answers are JSON:API documents."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/vnd.api+json", "application/json"), rate=Rate(REQUESTS, PERIOD_S))
