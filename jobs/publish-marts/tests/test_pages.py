"""Pages: frames in, HTML out."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from publish_marts import html_tables, pages, publication, sections
from publish_marts.export import Column, Exported, File, Mart
from publish_marts.frames import Frames
from publish_marts.pages import Version
from publish_marts.row_changes import Changes

ABOUT = publication.About(
    "internal",
    {"fct_<secret>": "holdings is confidential"},
    [{"dataset": "rates", "source": "A <bank>.", "licence": "free & open", "redistribution": "internal-use-only"}],
)
DAYS = pd.bdate_range("2011-01-03", "2013-02-28")
VOID = {"meta", "link", "input", "br", "img"}


class Checker(HTMLParser):
    """Collects links, ids and headings; fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: bytes) -> Checker:
    checker = Checker()
    checker.feed(page.decode())
    assert checker.open == []
    return checker


def nothing() -> Frames:
    """Frames of a warehouse without rows."""
    columns = {
        "securities": "ticker name cik",
        "prices": "ticker trade_date close adj_close",
        "returns": "ticker trade_date vol_63d drawdown",
        "valuation": "ticker trade_date pe_ratio",
        "fundamentals": "cik concept period_start period_end unit known_from known_to value accession",
        "yields": "curve_date tenor yield_pct",
        "spreads": "curve_date spread_2s10s_bp spread_3m10y_bp spread_5s30s_bp",
        "fx": "rate_date quote_currency rate",
        "freshness": "dataset partitions rows last_day last_known",
        "coverage": "dataset month days rows sessions",
        "days": "dataset coverage_date status row_count usual_count",
        "quarantine": "dataset lake_partition row_number reasons",
        "differences": "trade_date ticker_tiingo close_tiingo close_massive difference",
        "corrections": "known_date dataset subject item value_before value_after origin",
    }
    return Frames(**{name: pd.DataFrame(columns=text.split()) for name, text in columns.items()})


FLAWS = {
    "days": pd.DataFrame(
        [
            ("massive_daily_prices", pd.Timestamp("2016-09-01"), "partial", 2359.0, 6012.0),
            ("tiingo_prices", DAYS[3], "no_session", 3.0, None),
        ],
        columns=["dataset", "coverage_date", "status", "row_count", "usual_count"],
    ),
    "quarantine": pd.DataFrame(
        [("tiingo_prices", "ticker=PMV/year=2015", 163.0, "low is 0.5, which breaks low <= close with 0.4")],
        columns=["dataset", "lake_partition", "row_number", "reasons"],
    ),
    "differences": pd.DataFrame(
        [(DAYS[1], "AAPL", 100.0, 101.0, 0.01), (DAYS[2], "IBM", 100.0, 97.0, -0.03)],
        columns=["trade_date", "ticker_tiingo", "close_tiingo", "close_massive", "difference"],
    ),
    "corrections": pd.DataFrame(
        [(DAYS[5], "tiingo_prices", f"AAPL {day:%Y-%m-%d}", "close", 500.0, 549.03, "ticker=AAPL/year=2011 commit 2") for day in DAYS[:20]],
        columns=["known_date", "dataset", "subject", "item", "value_before", "value_after", "origin"],
    ),
}


def fact(value: float, known_from: str, accession: str) -> dict[str, Any]:
    days = {"period_start": "2008-09-28", "period_end": "2009-09-26", "known_from": known_from, "known_to": None}
    known = {name: pd.Timestamp(text) if text else pd.NaT for name, text in days.items()}
    return {"cik": 320193, "concept": "revenue", "unit": "USD", "value": value, "accession": accession, **known}


@pytest.fixture
def frames() -> Frames:
    """A ticker over two years, a curve, a rate and Apple's restated revenue."""
    price = pd.Series(range(100, 100 + len(DAYS)), dtype=float)
    prices = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "close": price, "adj_close": price})
    returns = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "vol_63d": 0.2, "drawdown": -0.125})
    valuation = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "pe_ratio": [None] * 10 + [12.5] * (len(DAYS) - 10)})
    yields = pd.DataFrame(
        [(day, tenor, value) for day in DAYS for tenor, value in (("3M", 0.05), ("2Y", 0.25), ("10Y", 1.78))],
        columns=["curve_date", "tenor", "yield_pct"],
    )
    spreads = pd.DataFrame({"curve_date": DAYS, "spread_2s10s_bp": 153.0, "spread_3m10y_bp": 173.0, "spread_5s30s_bp": None})
    fx = pd.DataFrame({"rate_date": DAYS, "quote_currency": "USD", "rate": 1.3194})
    told = [("tiingo_prices", 1, len(DAYS), DAYS[-1], "2026-11-20 22:30"), ("sec_filers", 1, 3, pd.NaT, "2026-11-20 12:00")]
    freshness = pd.DataFrame(told, columns=["dataset", "partitions", "rows", "last_day", "last_known"])
    coverage = pd.DataFrame(
        [("tiingo_prices", pd.Timestamp("2012-01-01"), 20, 80, 20), ("tiingo_prices", pd.Timestamp("2012-03-01"), 11, 44, None)],
        columns=["dataset", "month", "days", "rows", "sessions"],
    )
    return Frames(
        securities=pd.DataFrame({"ticker": ["AAPL"], "name": ["Apple Inc."], "cik": [320193.0]}),
        prices=prices,
        returns=returns,
        valuation=valuation,
        fundamentals=pd.DataFrame([fact(36537e6, "2009-10-28", "a"), fact(42905e6, "2010-01-26", "b")]),
        yields=yields,
        spreads=spreads.astype({"spread_5s30s_bp": float}),
        fx=fx,
        freshness=freshness,
        coverage=coverage,
        **FLAWS,
    )


@pytest.fixture
def exported(tmp_path: Path) -> list[Exported]:
    """One mart of two rows, with a description that is markup."""
    columns = (Column("tenor", "text", 'a "quote"'), Column("pct", "numeric(8,4)", ""))
    mart = Mart("fct_yield", "One row per day & <script>alert(1)</script>.", columns, ("tenor",))
    (tmp_path / "fct_yield.csv").write_text('tenor,pct\n"<img src=x>",1.5000\n2Y,0.2500\n', encoding="utf-8")
    files = [File(format_, tmp_path / f"fct_yield.{format_}", 1234, format_[0] * 64) for format_ in ("parquet", "csv", "json")]
    return [Exported(mart, 2, tuple(files))]


def version(*, docs: bool = True, previous: str | None = None) -> Version:
    return Version("abc123", previous, docs, None, {"fct_yield": Changes(added=1, removed=0, changed=2)}, ABOUT)


def test_every_page_is_well_formed_and_asks_nobody_outside(frames: Frames, exported: list[Exported]) -> None:
    for page in pages.render(version(), exported, frames).values():
        tags = parsed(page).tags
        assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object", "img")]
        outside = [value for _, attributes in tags for name, value in attributes.items() if name in ("href", "src") and ":" in str(value)]
        assert set(outside) <= {"data:,"}
        assert b"url(" not in page
        assert b"@import" not in page
        assert any(attributes.get("http-equiv") == "Content-Security-Policy" for _, attributes in tags)


def test_every_link_leads_to_a_file_of_the_version_or_a_place_on_the_page(frames: Frames, exported: list[Exported]) -> None:
    rendered = pages.render(version(), exported, frames)
    files = {*rendered, "docs.html", "catalogue.json", "SHA256SUMS", *(f"marts/{file.path.name}" for file in exported[0].files)}
    for name, page in rendered.items():
        tags = parsed(page).tags
        ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
        for href in [str(attributes["href"]) for tag, attributes in tags if tag == "a"]:
            target, _, place = href.partition("#")
            if target:
                here = Path("/", name).parent / target
                assert str(here.resolve()).lstrip("/") in files, href
            else:
                assert place in ids, href


def test_the_landing_page_has_the_same_links_one_folder_up(frames: Frames, exported: list[Exported]) -> None:
    page = pages.render(version(), exported, frames)["index.html"]
    landing = publication.landing(page, "abc123")
    inner = [str(attributes["href"]) for tag, attributes in parsed(page).tags if tag == "a"]
    outer = [str(attributes["href"]) for tag, attributes in parsed(landing).tags if tag == "a"]
    assert outer == [href if href.startswith("#") else f"v/abc123/{href.removeprefix('./')}" for href in inner]


def test_tables_have_headers_and_numbers_stand_right(frames: Frames, exported: list[Exported]) -> None:
    page = pages.render(version(), exported, frames)["index.html"].decode()
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        assert "<caption" in table
        heads = re.findall(r'<th scope="col" class="(\w)">', table)
        for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", table):
            assert re.findall(r'<t[hd][^>]* ?class="(\w)"', row) == heads
    assert '<td class="n">153' not in page
    assert '<td class="n">1,234' not in page
    assert ">1.2 kB</a>" in page


def test_the_restated_revenue_is_told_with_both_values_and_days(frames: Frames) -> None:
    section = sections.restatements(frames)
    assert section
    assert section.tables[0].rows == [["AAPL", "Revenue", "Year to 2009-09-26", "36,537", "2009-10-28", "42,905", "2010-01-26", "17.4 %"]]
    note = section.figures[0].note.replace("\N{NO-BREAK SPACE}", " ")
    assert "was 36,537 million when first filed, and is 42,905 million since 26 Jan 2010" in note
    assert ">36.5<" in section.figures[0].svg
    assert ">42.9<" in section.figures[0].svg


def test_glance_has_the_last_session_and_the_total_return_of_252_sessions(frames: Frames) -> None:
    section = sections.glance(frames)
    assert section
    last = 99 + len(DAYS)
    expected = ["AAPL", "2013-02-28", f"{last}.00", f"{(last / (last - 252) - 1) * 100:.1f} %", "20.0 %", "\N{MINUS SIGN}12.5 %", "12.5"]
    assert list(section.tables[0].rows[0][:-1]) == expected


def test_coverage_tells_a_full_month_from_a_half_and_an_empty_one(frames: Frames) -> None:
    section = sections.coverage(frames)
    assert section
    wide = section.figures[0].svg.split("</svg>")[0]
    cells = re.findall(r'class="(cell|void)"[^/]*?(?:fill-opacity="([\d.]+)")?/>', wide)
    assert cells == [("cell", "1.00"), ("void", ""), ("cell", "0.50")]
    assert section.tables[0].rows == [["tiingo_prices", "31"]]


def test_what_is_wrong_with_the_data_is_told_worst_or_newest_first(frames: Frames) -> None:
    section = sections.quality(frames)
    assert section
    assert section.lead == (
        "Rows in quarantine: 1; days not whole: 2; closes on which two vendors differ: 2; numbers that vendors corrected: 20."
    )
    quarantine, days, differing, corrected = section.tables
    assert quarantine.rows == [["tiingo_prices", "ticker=PMV/year=2015", "163", "low is 0.5, which breaks low <= close with 0.4"]]
    assert [row[1:3] for row in days.rows] == [["2016-09-01", "partial"], ["2011-01-06", "no session"]]
    assert [row[0] for row in differing.rows] == ["IBM", "AAPL"]
    assert differing.rows[0][-1] == "\N{MINUS SIGN}3.00 %"
    assert (len(corrected.rows), corrected.caption) == (14, "Numbers that vendors corrected, 14 of 20")
    assert corrected.rows[0][3:5] == ["500.0000", "549.0300"]


def test_tables_that_stand_together_have_captions_to_be_seen(frames: Frames, exported: list[Exported]) -> None:
    page = pages.render(version(), exported, frames)["index.html"].decode()
    told = page[page.index('id="quality"') : page.index('id="changes"')]
    captions = re.findall(r"<caption([^>]*)>", told)
    assert len(captions) == 4
    assert not any("unseen" in attributes for attributes in captions)


def test_data_without_a_flaw_say_so(frames: Frames) -> None:
    section = sections.quality(replace(nothing(), coverage=frames.coverage))
    assert section
    assert section.lead == (
        "Rows in quarantine: none; days not whole: none; closes on which two vendors differ: none; numbers that vendors corrected: none."
    )
    assert section.tables == ()


def test_the_curve_is_drawn_in_order_of_maturity(frames: Frames) -> None:
    section = sections.rates(frames)
    assert section
    ticks = re.findall(r'class="tick" text-anchor="middle"[^>]*>(\w+)<', section.figures[0].svg.split("</svg>")[0])
    assert ticks == ["3M", "2Y", "10Y"]


def test_a_warehouse_without_rows_still_has_a_page(exported: list[Exported]) -> None:
    page = pages.render(version(docs=False), exported, nothing())["index.html"].decode()
    assert "fct_yield.parquet" in page
    assert "docs.html" not in page
    assert "<svg" not in page
    parsed(page.encode())


def test_text_from_the_warehouse_stays_text(frames: Frames, exported: list[Exported]) -> None:
    for page in pages.render(version(), exported, frames).values():
        assert b"<script>" not in page
        assert b"<img" not in page
    assert b"&lt;img src=x&gt;" in page


def test_changes_name_the_version_they_are_counted_from(exported: list[Exported]) -> None:
    page = pages.render(version(previous="0ld"), exported, nothing())["index.html"].decode()
    assert "Compared with version 0ld." in page
    row = re.search(r'<tr><th scope="row" class="w"><a href="./marts/fct_yield.html">fct_yield</a></th>(.*?)</tr>', page)
    assert row
    assert re.findall(r'<td class="n">(.*?)</td>', row[1])[1:] == ["1", html_tables.NOTHING, "2"]


def test_the_same_frames_give_the_same_bytes(frames: Frames, exported: list[Exported]) -> None:
    assert pages.render(version(), exported, frames) == pages.render(version(), exported, frames)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1234.5, 2, "1,234.50"),
        (-0.5, 1, "\N{MINUS SIGN}0.5"),
        (-0.001, 2, "0.00"),
        (None, 2, html_tables.NOTHING),
        (float("nan"), 2, html_tables.NOTHING),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float | None, decimals: int, text: str) -> None:
    assert html_tables.number(value, decimals) == text


def test_a_page_says_what_is_left_out_whose_data_they_are_and_under_which_terms(exported: list[Exported]) -> None:
    page = pages.render(version(), exported, nothing())["index.html"].decode()
    for text in ("fct_&lt;secret&gt;", "holdings is confidential", "free &amp; open", "internal use only", "Sources: A &lt;bank&gt;."):
        assert text in page
    bare = replace(version(), about=publication.About("public", {}, ()))
    page = pages.render(bare, exported, nothing())["index.html"].decode()
    assert "Left out" not in page
    assert "Sources" not in page


def test_the_page_of_a_version_that_lost_a_mart_links_what_is_left(exported: list[Exported]) -> None:
    document = publication.describe("abc123", None, exported, version().changes, ABOUT)
    page = pages.withdrawn({**document, "withdrawn": ["fct_price_daily"]}, docs=True)
    links = {str(attributes["href"]) for tag, attributes in parsed(page).tags if tag == "a"}
    assert {"./marts/fct_yield.html", "./marts/fct_yield.csv", "./docs.html", "./catalogue.json"} <= links
    assert b"fct_price_daily" in page
