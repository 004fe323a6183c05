"""www.ecb.europa.eu: the history zip and the daily zip of the euro reference rates, 2009-01-02 to 2013-02-28.

Both answer conditional requests with 304. The history keeps every column the ECB ever had, dead currencies included,
with N/A and a trailing comma; the daily file has one row, a long date, comma and space, and trailing zeros.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import date
from email.utils import mktime_tz, parsedate_to_datetime, parsedate_tz
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, not_found

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_DAY, LAST_DAY = "2009-01-02", "2013-02-28"
PUBLISHED_AT = "Thu, 28 Feb 2013 14:57:03 GMT"
FOLDER = "/stats/eurofxref/"


class Publication(NamedTuple):
    """A published zip and the entity tag of its content."""

    body: bytes
    etag: str


def answer(request: Request) -> Answer:
    """Return the requested zip, or 304 if the client has the current one."""
    if request.path not in {FOLDER + "eurofxref-hist.zip", FOLDER + "eurofxref.zip"}:
        return not_found()
    published = publication(request.path.removeprefix(FOLDER).removesuffix(".zip"))
    validators = {"ETag": published.etag, "Last-Modified": PUBLISHED_AT}
    if is_fresh(request, published.etag):
        return Answer(304, b"", "application/zip", validators)
    return Answer(200, published.body, "application/zip", validators)


def is_fresh(request: Request, etag: str) -> bool:
    """Tell whether the client's copy is current. If-None-Match outranks If-Modified-Since (RFC 9110, 13.2.2)."""
    held = request.headers.get("If-None-Match")
    if held is not None:
        return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in held.split(","))
    since = parsedate_tz(request.headers.get("If-Modified-Since", ""))
    return since is not None and mktime_tz(since) >= parsedate_to_datetime(PUBLISHED_AT).timestamp()


@cache
def publication(name: str) -> Publication:
    """Return the zip of `eurofxref-hist` or of `eurofxref`, which contains the CSV of the same name."""
    text = history() if name == "eurofxref-hist" else daily()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.csv", (2013, 2, 28, 15, 57, 2)), text, zipfile.ZIP_DEFLATED)
    return Publication(packed.getvalue(), f'"{len(text):x}-{hashlib.sha256(text.encode()).hexdigest()[:13]}"')


@cache
def history() -> str:
    """Return the ECB's own file, limited to the days of the sample, newest first."""
    with zipfile.ZipFile(sample.wheel_file("currency_converter", "eurofxref-hist.zip")) as archive:
        header, *days = archive.read("eurofxref-hist.csv").decode().splitlines(keepends=True)
    return header + "".join(day for day in days if FIRST_DAY <= day[:10] <= LAST_DAY)


def daily() -> str:
    """Return the last day only, as the ECB writes it: current currencies, each with its usual number of decimals."""
    names, *days = (line.split(",")[:-1] for line in history().splitlines())
    rates = {name: column for name, *column in list(zip(names, *days, strict=True))[1:] if column[0] != "N/A"}
    long_date = f"{date.fromisoformat(LAST_DAY):%d %B %Y}"
    return _line("Date", rates) + _line(long_date, (_padded(column) for column in rates.values()))


def _line(first: str, rest: Iterable[str]) -> str:
    return ", ".join([first, *rest, "\n"])


def _padded(column: list[str]) -> str:
    """Return the newest rate with the trailing zeros that the history file drops."""
    decimals = max(len(rate.partition(".")[2]) for rate in column if rate != "N/A")
    return f"{float(column[0]):.{decimals}f}"
