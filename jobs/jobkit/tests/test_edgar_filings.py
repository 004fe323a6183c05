"""SEC's lists of filings are read strictly; what SEC lists and does not have is bad data."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jobkit.edgar import filings
from jobkit.errors import BadDataError
from jobkit.http import ResourceNotFoundError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
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


def list_filings(listed: object, older: object = None, partition: str = "cik={cik}/accession={accession}", **others: object) -> list[str]:
    lists = Lists(CIK0000000001={"cik": "1", "filings": listed}, older=older, **others)
    ciks = ["1", "0000000001", *(name[-1:] for name in others)]
    kind = filings.FilingKind("filings", ("13F-HR", "13F-HR/A"), partition, "2013-05-20")
    lister = filings.build_lister(kind, ciks, start=date(1, 1, 3), end=date(2024, 12, 31), lookback_days=7, base_url=filings.BASE_URL)
    return [f"{request.path[21:23]}{request.partitions[0][-6:]}" for request in lister(lists, [])]  # type: ignore[arg-type]


def test_recent_and_older_filings_are_listed_the_oldest_first() -> None:
    files = [{"name": "older.json", "filingTo": "2014-12-31"}, {"name": "not requested.json", "filingTo": "2012-12-31"}]
    assert list_filings({"recent": RECENT, "files": files}, OLDER) == ["1/000001", "1/000001", "1/000003"]
    assert list_filings({"recent": RECENT}) == ["1/000001", "1/000003"]


def test_a_filing_of_two_filers_is_requested_once_if_its_partition_is_the_same() -> None:
    other = {"CIK0000000002": {"cik": "2", "filings": {"recent": RECENT}}}
    assert list_filings({"recent": RECENT}, partition="accession={accession}", **other) == ["1/000001", "1/000003"]
    assert list_filings({"recent": RECENT}, **other) == ["1/000001", "1/000003", "2/000001", "2/000003"]


@pytest.mark.parametrize(
    "listed",
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
def test_another_list_is_refused(listed: object) -> None:
    with pytest.raises(BadDataError, match="SEC's list of the filings of 0000000001"):
        list_filings(listed, older=[OLDER])


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
def test_recorded_lists_have_the_forms_of_insiders_of_both_pages() -> None:
    names = ("CIK0001318605", "CIK0001318605-submissions-001")
    lists = Lists(**{name: json.loads(gzip.decompress((FEEDS / f"submissions_{name}.json.gz").read_bytes())) for name in names})
    kind = filings.FilingKind("filings", ("3", "3/A", "4", "4/A", "5", "5/A"), "accession={accession}", "2003-06-30")
    lister = filings.build_lister(
        kind, ["1318605"], start=date(2003, 6, 30), end=date(2026, 3, 1), lookback_days=0, base_url=filings.BASE_URL
    )
    found = lister(lists, [])  # type: ignore[arg-type]
    assert (len(found), found[-1].path) == (836, "/Archives/edgar/data/1318605/0001104659-26-021746.txt")


def test_an_unknown_filer_is_named() -> None:
    class Client:
        def get(self, path: str, *_: object, **__: object) -> None:
            raise ResourceNotFoundError(f"{path} does not exist (404)")

    kind = filings.FilingKind("filings", ("4",), "accession={accession}", "2003-06-30")
    lister = filings.build_lister(kind, ["7"], start=date(2024, 1, 1), end=date(2024, 1, 1), lookback_days=0, base_url=filings.BASE_URL)
    with pytest.raises(ResourceNotFoundError, match="SEC has no CIK0000000007.json with filings of 0000000007; look the number up"):
        lister(Client(), [])  # type: ignore[arg-type]


def test_a_filing_that_sec_lists_and_does_not_have_is_bad_data() -> None:
    class Client:
        def get(self, path: str, *_: object, **__: object) -> None:
            raise ResourceNotFoundError(f"www.sec.gov{path} does not exist (404)")

    with pytest.raises(BadDataError, match=r"lists a filing that it does not have: www.sec.gov/x does not exist \(404\)"):
        filings.fetch(Client(), Request("sec_13f_holdings", ("cik=1",), "/x"), None)  # type: ignore[arg-type]
