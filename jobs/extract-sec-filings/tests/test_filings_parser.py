"""All lists of a filer are one table with each filing once; a list that is short, or of another filer, is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from extract_sec_filings.parser import parse
from jobkit import contracts
from jobkit.errors import BadDataError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
REQUEST = Request("sec_filings", ("cik=0000000007",), "/submissions/CIK0000000007.json")
PAGE: dict[str, Any] = {
    "accessionNumber": ["0000000007-24-000002", "0000000007-24-000001"],
    "filingDate": ["2024-02-14", "2024-02-13"],
    "reportDate": ["2024-02-12", ""],
    "acceptanceDateTime": ["2024-02-14T18:34:19.000Z", "2024-02-13T06:01:32.000Z"],
    "form": ["4", "8-K"],
    "items": ["", "2.02,9.01"],
    "size": [5753, 0],
    "isXBRL": [0, 1],
}
OLDER: dict[str, Any] = {
    "accessionNumber": ["0000000007-14-000001"],
    "filingDate": ["2014-02-13"],
    "form": ["10-K"],
    "film": ["x"],
    "weight": [1.5],
}
FILES = [{"name": "CIK0000000007-submissions-001.json", "filingCount": 1, "filingFrom": "2014-02-13", "filingTo": "2014-02-13"}]


def encode(recent: object = PAGE, files: object = FILES, *older: object, cik: object = "0000000007") -> bytes:
    return json.dumps([{"cik": cik, "name": "Example", "filings": {"recent": recent, "files": files}}, *older]).encode()


def test_the_filings_of_all_lists_are_rows_and_empty_texts_are_null() -> None:
    (columns,) = parse(encode(PAGE, FILES, OLDER), REQUEST).values()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert [row["accessionNumber"] for row in rows] == [*PAGE["accessionNumber"], *OLDER["accessionNumber"]]
    assert rows[0] == {
        "cik": "7",
        **{name: values[0] for name, values in PAGE.items()},
        "items": None,
        "isXBRL": "false",
        "film": None,
        "weight": None,
    }
    assert (rows[1]["reportDate"], rows[1]["items"], rows[1]["size"], rows[1]["isXBRL"]) == (None, "2.02,9.01", 0, "true")
    assert (rows[2]["cik"], rows[2]["film"], rows[2]["weight"], rows[2]["size"], rows[2]["isXBRL"]) == ("7", "x", "1.5", None, None)
    result = contracts.validate(contracts.load_packaged("extract_sec_filings", "sec_filings"), columns)
    assert (result.table.num_rows, result.quarantine) == (3, None)


def test_a_filer_without_filings_has_no_rows() -> None:
    (columns,) = parse(encode({name: [] for name in PAGE}, []), REQUEST).values()
    assert set(map(len, columns.values())) == {0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (encode(), "has 0 lists of older filings; expected 1"),
        (encode(PAGE, [], OLDER), "has 1 lists of older filings; expected 0"),
        (
            encode(PAGE, [{**FILES[0], "filingCount": 2}], OLDER),
            r"has 1 filings in 'CIK0000000007-submissions-001.json' of 2; run it again",
        ),
        (encode(PAGE, FILES, OLDER, cik="0000000008"), "is about cik '0000000008'"),
        (encode({**PAGE, "form": ["4"]}, []), "columns of different lengths"),
        (encode({"form": ["4"]}, []), "none with accession numbers"),
        (encode({**PAGE, "form": "4"}, []), "is not the document of a filer"),
        (encode(PAGE, FILES, [OLDER]), "is not a list of filings as columns"),
        (encode({"accessionNumber": [""] * 100}, []), "has 100 filings in"),
        (encode({"accessionNumber": [0] * 600_000}, []).replace(b" ", b""), "has 600,0.. values in"),
        (b"[]", "is not the document of a filer"),
        (b"{}", "is not a list of documents"),
    ],
)
def test_another_list_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=f"SEC's list of the filings of cik=0000000007.* {message}"):
        parse(body, REQUEST)


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
@pytest.mark.parametrize(("cik", "pages", "rows"), [(320193, 0, 1005), (789019, 0, 1002), (1318605, 1, 1722)])
def test_recorded_lists_have_each_filing_once_and_no_bad_row(cik: int, pages: int, rows: int) -> None:
    names = [f"CIK{cik:010}", *(f"CIK{cik:010}-submissions-{number + 1:03}" for number in range(pages))]
    first, *older = [json.loads(gzip.decompress((FEEDS / f"submissions_{name}.json.gz").read_bytes())) for name in names]
    first["filings"]["files"] = first["filings"]["files"][:pages]
    parsed = parse(json.dumps([first, *older]).encode(), REQUEST._replace(partitions=(f"cik={cik:010}",)))
    result = contracts.validate(contracts.load_packaged("extract_sec_filings", "sec_filings"), parsed[f"cik={cik:010}"])
    assert (result.table.num_rows, result.quarantine, result.warnings) == (rows, None, ())
    assert len(set(parsed[f"cik={cik:010}"]["accessionNumber"])) == rows


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
def test_the_acceptance_is_in_two_time_zones_of_which_the_text_does_not_say_which() -> None:
    """EDGAR accepts from 6:00 to 22:00 in New York: 6:00 to 9:00 with Z is no UTC, 22:30 to 3:00 is. Hence it stays text."""
    hours = {}
    for cik in (320193, 789019, 1318605):
        filer = json.loads(gzip.decompress((FEEDS / f"submissions_CIK{cik:010}.json.gz").read_bytes()))
        accepted = filer["filings"]["recent"]["acceptanceDateTime"]
        hours[cik] = ({text[11:16] for text in accepted if "06:00" <= text[11:16] < "09:00"}, {t for t in accepted if t[11:16] > "22:30"})
        assert all(text.endswith(".000Z") for text in accepted)
    assert hours[320193][0]
    assert not hours[320193][1]
    assert not hours[789019][0]
    assert hours[789019][1]
    assert not hours[1318605][0]
    assert hours[1318605][1]
