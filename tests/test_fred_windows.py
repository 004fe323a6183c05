"""A series with more vintages than FRED sends at once is fetched in windows of real time, and its rows are those of one request."""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Any, cast

import pytest
from extract_fred_series import parser, source
from jobkit.body import Body
from jobkit.errors import BadDataError
from jobkit.http import Response

from verification.sample_vendors import fred, wire

if TYPE_CHECKING:
    from jobkit.http import Client


class Vendor:
    """A client that asks the sample vendor without HTTP, and keeps the real times that it asked for."""

    max_body_bytes = 10_000_000

    def __init__(self) -> None:
        self.windows: list[tuple[str, str]] = []

    def get(self, path: str, params: tuple[tuple[str, str], ...], *_: object, **__: object) -> Response:
        query = dict(params)
        if path.endswith("/observations"):
            self.windows.append((query["realtime_start"], query["realtime_end"]))
        answer = fred.answer(wire.Request(path, {"api_key": "any", **query}, Message(), 0))
        assert answer.status == 200, answer.body
        content = Body()
        content.write(answer.body)
        return Response(content, path, answer.content_type, None, None)


def fetch_rows(vendor: Vendor) -> list[tuple[Any, ...]]:
    request = next(one for one in source.build_requests(series=["GDP"], releases=[]) if one.dataset == "fred_observations")
    body = source.fetch(cast("Client", vendor), request, None).body
    (columns,) = parser.parse(body or b"", request).values()
    return sorted(zip(*(columns[name] for name in ("date", "realtime_start", "realtime_end", "value")), strict=True), key=str)


@pytest.mark.parametrize("day", ["soon", "2012-02-30", 20121220, None])
def test_a_list_of_vintages_with_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, day: object) -> None:
    monkeypatch.setattr(fred, "vintage_dates", lambda *_: [day])
    with pytest.raises(BadDataError, match="the list of vintages of series=GDP has .* where a date such as 2012-12-20 was expected"):
        fetch_rows(Vendor())


class VendorWithoutVintages(Vendor):
    """A client whose vendor writes an empty list of vintages as null."""

    def get(self, path: str, params: tuple[tuple[str, str], ...], *more: object, **options: object) -> Response:
        response = super().get(path, params, *more, **options)
        if not path.endswith("/vintagedates"):
            return response
        content = Body()
        content.write(b'{"count": 0, "vintage_dates": null}')
        return response._replace(content=content)


def test_a_list_of_vintages_that_is_null_is_empty() -> None:
    vendor = VendorWithoutVintages()
    assert fetch_rows(vendor) == fetch_rows(Vendor())
    assert vendor.windows == [("1776-07-04", "9999-12-31")]


def test_windows_give_the_rows_of_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fetch_rows(Vendor())
    monkeypatch.setattr(source, "MAX_VINTAGES", 10)
    monkeypatch.setattr(fred, "MAX_VINTAGES", 10)
    vendor = Vendor()
    assert fetch_rows(vendor) == whole
    assert len(whole) > 100
    assert len(vendor.windows) > 3
    monkeypatch.setattr(source, "MAX_VINTAGES", 11)
    with pytest.raises(AssertionError, match=r"exceeds the maximum number of vintage dates allowed \(10\)"):
        fetch_rows(Vendor())
