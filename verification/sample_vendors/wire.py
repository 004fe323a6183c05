"""Requests to vendors and their responses, without HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message


LAST_DAY = "9999-12-31"  # the sample as a whole


class Request(NamedTuple):
    """One request to one vendor: `path` starts below the host, `seen` counts the earlier requests for that path.

    `today` is the last day of which the vendor has figures, as an ISO date. `body` is what a POST sends.
    """

    path: str
    query: Mapping[str, str]
    headers: Message
    seen: int
    today: str = LAST_DAY
    body: bytes | None = None


class Answer(NamedTuple):
    """One response. `cut` sends half of the promised body, `delay_s` is the wait before it."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = {}
    cut: bool = False
    delay_s: float = 0


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a response with the value as compact JSON."""
    return Answer(status, json.dumps(value, separators=(",", ":")).encode(), "application/json", headers or {})


def html_answer(status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a response with an HTML page."""
    head, body = f"<head><title>{title}</title></head>", f"<body><h1>{title}</h1><p>{text}</p></body>"
    page = f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'
    return Answer(status, page.encode(), "text/html; charset=utf-8", headers or {})


def not_found() -> Answer:
    """Return the page that a web site has for an unknown path."""
    return html_answer(404, "Page not found", "The requested page could not be found.")
