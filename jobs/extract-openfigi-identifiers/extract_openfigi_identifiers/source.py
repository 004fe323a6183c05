"""OpenFIGI's mapping of identifiers to FIGIs: a POST with up to 100 questions, 10 without a key.

An answer does not repeat its question, and only its place in the list says which one it answers. So both are stored, as one JSON array.

Source: https://www.openfigi.com/api/documentation
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL = "https://api.openfigi.com"
PATH = "/v3/mapping"
IDENTIFIER = r"[A-Z][A-Z0-9_]*:[!-9;-~]([ -9;-~]{0,58}[!-9;-~])?(:[A-Z]([A-Z ]{0,10}[A-Z])?)?"
FORMATS = {
    "ID_ISIN": "isin",
    "ID_CUSIP": "cusip",
    "ID_SEDOL": "sedol",
    "ID_BB_GLOBAL": "figi",
    "COMPOSITE_ID_BB_GLOBAL": "figi",
    "ID_BB_GLOBAL_SHARE_CLASS_LEVEL": "figi",
}
ALL = "all"  # in place of an exchange, whose code has capitals only
WITH_KEY, WITHOUT_KEY = 100, 10  # questions of a request
REQUESTS, WITH_KEY_S, WITHOUT_KEY_S = 25, 6, 60  # as many requests in as many seconds
_UNSAFE = re.compile(r"[^A-Za-z0-9.\-]")
_ESCAPED = re.compile(r"_([0-9A-F]{2})")
Question = dict[str, str]


def build_requests(*, identifiers: Sequence[str], without_key: bool, **_: object) -> list[Request]:
    """Build one request per batch of questions, each with one partition. Raises UsageError (exit code 2) for identifiers that are none."""
    from jobkit.identifiers import refuse_wrong  # noqa: PLC0415  describe checks none

    partitions = [to_partition(parse_identifier(text)) for text in dict.fromkeys(identifiers)]
    refuse_wrong("--identifiers", [problem for text in identifiers if (problem := find_problem(text))])
    size = WITHOUT_KEY if without_key else WITH_KEY
    return [_build_request(partitions[first : first + size]) for first in range(0, len(partitions), size)]


def _build_request(partitions: Sequence[str]) -> Request:
    questions = json.dumps([to_question(partition) for partition in partitions], separators=(",", ":"))
    return Request("openfigi_mappings", tuple(partitions), PATH, body=questions)


def parse_identifier(text: str) -> Question:
    """Return the question of TYPE:VALUE or TYPE:VALUE:EXCHANGE, such as ID_ISIN:US4592001014 or TICKER:IBM:US."""
    kind, value, *exchange = text.split(":")
    return {"idType": kind, "idValue": value, **({"exchCode": exchange[0]} if exchange else {})}


def find_problem(text: str) -> str | None:
    """Return what is wrong with an identifier that has a check digit; None if it is right or has none."""
    from jobkit import identifiers  # noqa: PLC0415  describe checks none

    question = parse_identifier(text)
    kind = FORMATS.get(question["idType"])
    problem = identifiers.CHECKS[kind](question["idValue"]) if kind else None
    return f"{text} is {problem}" if problem else None


def to_partition(question: Question) -> str:
    """Return the partition of a question, such as type=TICKER/id=BRK_2FB/exchange=US: others than A-Z a-z 0-9 . - are in hex."""
    value, exchange = (_UNSAFE.sub(lambda match: f"_{ord(match[0]):02X}", question.get(name, ALL)) for name in ("idValue", "exchCode"))
    return f"type={question['idType']}/id={value}/exchange={exchange}"


def to_question(partition: str) -> Question:
    """Return the question of a partition."""
    kind, *escaped = (step.partition("=")[2] for step in partition.split("/"))
    value, exchange = (_ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) for text in escaped)
    return {"idType": kind, "idValue": value, **({"exchCode": exchange} if exchange != ALL else {})}


def build_client(hosts: Sequence[str], *, base_url: str, token: str, without_key: bool, **_: object) -> Client:
    """Build a client with OpenFIGI's rate and the API key, if there is one."""
    from jobkit import secrets  # noqa: PLC0415  describe needs neither
    from jobkit.http import Client, Rate  # noqa: PLC0415

    rate = Rate(REQUESTS, WITHOUT_KEY_S if without_key else WITH_KEY_S)
    headers = {} if without_key else {"X-OPENFIGI-APIKEY": secrets.resolve_token(token)}
    return Client(base_url, hosts=hosts, accept=("application/json",), rate=rate, headers=headers)


def fetch(client: Client, request: Request, _: Source | None) -> Response:
    """Ask the questions of a request. The body of the response is a JSON array of the questions and the answers, each as sent."""
    from jobkit.body import Body  # noqa: PLC0415  it needs httpx2

    response, joined = requests.fetch(client, request, None), Body()
    for part in (b"[", (request.body or "").encode(), b",", response.body or b"null", b"]"):
        joined.write(part)
    return response._replace(content=joined, etag=None, last_modified=None)
