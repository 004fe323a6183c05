"""Render pages: frames in, HTML out."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from publish_marts import html_tables, pages, publication, sections
from publish_marts.export import Column, ExportedFile, ExportedMart, Mart
from publish_marts.frames import Frames
from publish_marts.pages import VersionInfo
from publish_marts.row_changes import RowChanges

TERMS = publication.PublicationTerms(
    "internal",
    {"fct_<secret>": "holdings is confidential"},
    [{"dataset": "rates", "source": "A <bank>.", "licence": "free & open", "redistribution": "internal-use-only"}],
)
DAYS = pd.bdate_range("2011-01-03", "2013-02-28")
VOID_TAGS = {"meta", "link", "input", "br", "img"}


class Checker(HTMLParser):
    """Collects tags and their attributes. Fails if an end tag does not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse_page(page: bytes) -> Checker:
    checker = Checker()
    checker.feed(page.decode())
    assert checker.open == []
    return checker


def empty_frames() -> Frames:
    """Build the frames of an empty warehouse."""
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
        "incomplete_days": "dataset coverage_date status row_count usual_count",
        "quarantine": "dataset lake_partition row_number reasons",
        "close_differences": "trade_date ticker_tiingo close_tiingo close_massive difference",
        "vendor_restatements": "known_date dataset subject item value_before value_after origin",
    }
    return Frames(**{name: pd.DataFrame(columns=text.split()) for name, text in columns.items()})


PROBLEMS = {
    "incomplete_days": pd.DataFrame(
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
    "close_differences": pd.DataFrame(
        [(DAYS[1], "AAPL", 100.0, 101.0, 0.01), (DAYS[2], "IBM", 100.0, 97.0, -0.03)],
        columns=["trade_date", "ticker_tiingo", "close_tiingo", "close_massive", "difference"],
    ),
    "vendor_restatements": pd.DataFrame(
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
    """Build frames of one ticker over two years, a yield curve, an exchange rate and a restated revenue."""
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
    rows = [("tiingo_prices", 1, len(DAYS), DAYS[-1], "2026-11-20 22:30"), ("sec_filers", 1, 3, pd.NaT, "2026-11-20 12:00")]
    freshness = pd.DataFrame(rows, columns=["dataset", "partitions", "rows", "last_day", "last_known"])
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
        **PROBLEMS,
    )


@pytest.fixture
def exported(tmp_path: Path) -> list[ExportedMart]:
    """One mart of two rows. Its description contains markup."""
    columns = (Column("tenor", "text", 'a "quote"'), Column("pct", "numeric(8,4)", ""))
    mart = Mart("fct_yield", "One row per day & <script>alert(1)</script>.", columns, ("tenor",))
    (tmp_path / "fct_yield.csv").write_text('tenor,pct\n"<img src=x>",1.5000\n2Y,0.2500\n', encoding="utf-8")
    files = [ExportedFile(format_, tmp_path / f"fct_yield.{format_}", 1234, format_[0] * 64) for format_ in ("parquet", "csv", "json")]
    return [ExportedMart(mart, 2, tuple(files))]


def version(*, docs: bool = True, previous: str | None = None) -> VersionInfo:
    return VersionInfo("abc123", previous, docs, None, {"fct_yield": RowChanges(added=1, removed=0, changed=2)}, TERMS)


def test_every_page_is_well_formed_and_requests_nothing_external(frames: Frames, exported: list[ExportedMart]) -> None:
    for page in pages.render_pages(version(), exported, frames).values():
        tags = parse_page(page).tags
        assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object", "img")]
        external = [value for _, attributes in tags for name, value in attributes.items() if name in ("href", "src") and ":" in str(value)]
        assert set(external) <= {"data:,"}
        assert b"url(" not in page
        assert b"@import" not in page
        assert any(attributes.get("http-equiv") == "Content-Security-Policy" for _, attributes in tags)


def test_every_link_points_to_a_file_of_the_version_or_an_anchor_on_the_page(frames: Frames, exported: list[ExportedMart]) -> None:
    rendered = pages.render_pages(version(), exported, frames)
    files = {*rendered, "docs.html", "catalogue.json", "SHA256SUMS", *(f"marts/{file.path.name}" for file in exported[0].files)}
    for name, page in rendered.items():
        tags = parse_page(page).tags
        ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
        for href in [str(attributes["href"]) for tag, attributes in tags if tag == "a"]:
            target, _, place = href.partition("#")
            if target:
                here = Path("/", name).parent / target
                assert str(here.resolve()).lstrip("/") in files, href
            else:
                assert place in ids, href


def test_the_landing_page_has_the_same_links_one_folder_up(frames: Frames, exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(), exported, frames)["index.html"]
    landing = publication.rewrite_links(page, "abc123")
    inner = [str(attributes["href"]) for tag, attributes in parse_page(page).tags if tag == "a"]
    outer = [str(attributes["href"]) for tag, attributes in parse_page(landing).tags if tag == "a"]
    assert outer == [href if href.startswith("#") else f"v/abc123/{href.removeprefix('./')}" for href in inner]


def test_tables_have_headers_and_numbers_are_aligned_right(frames: Frames, exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(), exported, frames)["index.html"].decode()
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        assert "<caption" in table
        heads = re.findall(r'<th scope="col" class="(\w)">', table)
        for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", table):
            assert re.findall(r'<t[hd][^>]* ?class="(\w)"', row) == heads
    assert '<td class="n">153' not in page
    assert '<td class="n">1,234' not in page
    assert ">1.2 kB</a>" in page


def test_a_restated_revenue_is_shown_with_both_values_and_dates(frames: Frames) -> None:
    section = sections.build_restatements(frames)
    assert section
    assert section.tables[0].rows == [["AAPL", "Revenue", "Year to 2009-09-26", "36,537", "2009-10-28", "42,905", "2010-01-26", "17.4 %"]]
    note = section.figures[0].note.replace("\N{NO-BREAK SPACE}", " ")
    assert "was 36,537 million when first filed, and has been 42,905 million since 26 Jan 2010" in note
    assert ">36.5<" in section.figures[0].svg
    assert ">42.9<" in section.figures[0].svg


def test_the_overview_has_the_last_session_and_the_total_return_of_252_sessions(frames: Frames) -> None:
    section = sections.build_overview(frames)
    assert section
    last = 99 + len(DAYS)
    expected = ["AAPL", "2013-02-28", f"{last}.00", f"{(last / (last - 252) - 1) * 100:.1f} %", "20.0 %", "\N{MINUS SIGN}12.5 %", "12.5"]
    assert list(section.tables[0].rows[0][:-1]) == expected


def test_coverage_shows_full_half_and_empty_months_differently(frames: Frames) -> None:
    section = sections.build_coverage(frames)
    assert section
    wide = section.figures[0].svg.split("</svg>")[0]
    cells = re.findall(r'class="(cell|void)"[^/]*?(?:fill-opacity="([\d.]+)")?/>', wide)
    assert cells == [("cell", "1.00"), ("void", ""), ("cell", "0.50")]
    assert section.tables[0].rows == [["tiingo_prices", "31"]]


def test_problems_are_listed_worst_or_newest_first(frames: Frames) -> None:
    section = sections.build_quality(frames)
    assert section
    assert section.lead == (
        "Quarantined rows: 1; incomplete days: 2; closing prices on which two vendors differ: 2; values restated by a vendor: 20."
    )
    quarantine, incomplete_days, differences, restatements = section.tables
    assert quarantine.rows == [["tiingo_prices", "ticker=PMV/year=2015", "163", "low is 0.5, which breaks low <= close with 0.4"]]
    assert [row[1:3] for row in incomplete_days.rows] == [["2016-09-01", "partial"], ["2011-01-06", "no trading session"]]
    assert [row[0] for row in differences.rows] == ["IBM", "AAPL"]
    assert differences.rows[0][-1] == "\N{MINUS SIGN}3.00 %"
    assert (len(restatements.rows), restatements.caption) == (14, "Values restated by a vendor, 14 of 20")
    assert restatements.rows[0][3:5] == ["500.0000", "549.0300"]


def test_several_tables_in_a_section_have_visible_captions(frames: Frames, exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(), exported, frames)["index.html"].decode()
    quality = page[page.index('id="quality"') : page.index('id="changes"')]
    captions = re.findall(r"<caption([^>]*)>", quality)
    assert len(captions) == 4
    assert not any("visually-hidden" in attributes for attributes in captions)


def test_data_without_problems_is_reported_as_such(frames: Frames) -> None:
    section = sections.build_quality(replace(empty_frames(), coverage=frames.coverage))
    assert section
    assert section.lead == (
        "Quarantined rows: none; incomplete days: none; closing prices on which two vendors differ: none; "
        "values restated by a vendor: none."
    )
    assert section.tables == ()


def test_the_yield_curve_is_sorted_by_maturity(frames: Frames) -> None:
    section = sections.build_rates(frames)
    assert section
    ticks = re.findall(r'class="tick" text-anchor="middle"[^>]*>(\w+)<', section.figures[0].svg.split("</svg>")[0])
    assert ticks == ["3M", "2Y", "10Y"]


def test_an_empty_warehouse_still_has_a_page(exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(docs=False), exported, empty_frames())["index.html"].decode()
    assert "fct_yield.parquet" in page
    assert "docs.html" not in page
    assert "<svg" not in page
    parse_page(page.encode())


def test_text_from_the_warehouse_is_escaped(frames: Frames, exported: list[ExportedMart]) -> None:
    for page in pages.render_pages(version(), exported, frames).values():
        assert b"<script>" not in page
        assert b"<img" not in page
    assert b"&lt;img src=x&gt;" in page


def test_changes_name_the_version_they_are_counted_from(exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(previous="0ld"), exported, empty_frames())["index.html"].decode()
    assert "Compared with version 0ld." in page
    row = re.search(r'<tr><th scope="row" class="w"><a href="./marts/fct_yield.html">fct_yield</a></th>(.*?)</tr>', page)
    assert row
    assert re.findall(r'<td class="n">(.*?)</td>', row[1])[1:] == ["1", html_tables.EMPTY, "2"]


def test_the_same_frames_give_the_same_bytes(frames: Frames, exported: list[ExportedMart]) -> None:
    assert pages.render_pages(version(), exported, frames) == pages.render_pages(version(), exported, frames)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1234.5, 2, "1,234.50"),
        (-0.5, 1, "\N{MINUS SIGN}0.5"),
        (-0.001, 2, "0.00"),
        (None, 2, html_tables.EMPTY),
        (float("nan"), 2, html_tables.EMPTY),
    ],
)
def test_numbers_have_separators_and_a_real_minus_sign(value: float | None, decimals: int, text: str) -> None:
    assert html_tables.format_number(value, decimals) == text


def test_a_page_lists_what_is_not_published_and_the_sources_with_their_terms(exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(), exported, empty_frames())["index.html"].decode()
    for text in ("fct_&lt;secret&gt;", "holdings is confidential", "free &amp; open", "internal use only", "Sources: A &lt;bank&gt;."):
        assert text in page
    without_terms = replace(version(), terms=publication.PublicationTerms("public", {}, ()))
    page = pages.render_pages(without_terms, exported, empty_frames())["index.html"].decode()
    assert "Not published" not in page
    assert "Sources" not in page


def test_the_page_of_a_version_with_a_withdrawn_mart_links_the_other_marts(exported: list[ExportedMart]) -> None:
    catalogue = publication.build_catalogue("abc123", None, exported, version().changes, TERMS)
    page = pages.render_withdrawn_page({**catalogue, "withdrawn": ["fct_price_daily"]}, docs=True)
    links = {str(attributes["href"]) for tag, attributes in parse_page(page).tags if tag == "a"}
    assert {"./marts/fct_yield.html", "./marts/fct_yield.csv", "./docs.html", "./catalogue.json"} <= links
    assert b"fct_price_daily" in page
