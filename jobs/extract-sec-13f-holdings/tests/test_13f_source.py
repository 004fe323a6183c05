"""SEC's lists of filings are read strictly; what SEC lists and does not have is bad data."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from extract_sec_13f_holdings import source
from jobkit.errors import BadDataError
from jobkit.http import ResourceNotFoundError
from jobkit.requests import Request

RECENT = {
    "form": ["13F-HR", "10-K", "13F-HR/A"],
    "filingDate": ["2024-02-12", "2024-02-13", "2024-02-14"],
    "accessionNumber": ["0000000001-24-000001", "0000000001-24-000002", "0000000001-24-000003"],
    "reportDate": [None, None, None],
}
OLDER = {"form": ["13F-HR"], "filingDate": ["2014-02-12"], "accessionNumber": ["0000000001-14-000001"]}


class Answer:
    """SEC's answer to a request for a list."""

    def __init__(self, document: Any) -> None:
        self.body = json.dumps(document).encode()


class Lists:
    """A client whose vendor has these lists."""

    def __init__(self, **lists: Any) -> None:
        self.lists = lists

    def get(self, path: str, *_: object, **__: object) -> Answer:
        return Answer(self.lists[path.rpartition("/")[2].removesuffix(".json")])


def list_filings(filings: object, older: object = None) -> list[str]:
    lists = Lists(CIK0000000001={"cik": "1", "filings": filings}, older=older)
    return [request.partitions[0][-6:] for request in source._list_filings(lists, "0000000001", "2013-05-20", "2024-12-31")]  # type: ignore[arg-type]


def test_recent_and_older_filings_are_listed_the_oldest_first() -> None:
    files = [{"name": "older.json", "filingTo": "2014-12-31"}, {"name": "not requested.json", "filingTo": "2012-12-31"}]
    assert list_filings({"recent": RECENT, "files": files}, OLDER) == ["000001", "000001", "000003"]
    assert list_filings({"recent": RECENT}) == ["000001", "000003"]


@pytest.mark.parametrize(
    "filings",
    [
        None,
        [1],
        {"recent": None},
        {"recent": {**RECENT, "filingDate": ["2024-02-12", None, "2024-02-14"]}},
        {"recent": {**RECENT, "form": "13F-HR"}},
        {"recent": {**RECENT, "form": ["13F-HR"]}},
        {"recent": RECENT, "files": None},
        {"recent": RECENT, "files": [1]},
        {"recent": RECENT, "files": [{"name": "older.json", "filingTo": "2014-12-31"}]},
    ],
)
def test_another_list_is_refused(filings: object) -> None:
    with pytest.raises(BadDataError, match="SEC's list of the filings of 0000000001"):
        list_filings(filings, older=[OLDER])


def test_days_before_the_calendar_are_no_days() -> None:
    assert source.find_lister(managers=["1"], start=date(1, 1, 3), end=date(2024, 1, 1), lookback_days=7, base_url=source.BASE_URL)


def test_a_filing_that_sec_lists_and_does_not_have_is_bad_data() -> None:
    class Client:
        def get(self, path: str, *_: object, **__: object) -> None:
            raise ResourceNotFoundError(f"www.sec.gov{path} does not exist (404)")

    with pytest.raises(BadDataError, match=r"lists a filing that it does not have: www.sec.gov/x does not exist \(404\)"):
        source.fetch(Client(), Request("sec_13f_holdings", ("cik=1",), "/x"), None)  # type: ignore[arg-type]
