"""Render pages: frames in, HTML out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from publish_marts import html_tables, links, pages, publication, sections
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
CHECKED_ON = pd.Timestamp("2013-03-11")


def result(name: str, status: str, mart: str, dataset: str, failures: int = 0) -> dict[str, Any]:
    return {"name": name, "status": status, "failures": failures, "marts": [mart] if mart else [], "datasets": [dataset]}


RUNS: list[dict[str, Any]] = [
    {
        "transform_id": 2,
        "run_id": "b" * 32,
        "started_at": "2026-11-20T22:31:00+00:00",
        "ended_at": "2026-11-20T22:31:12.5+00:00",
        "as_of": None,
        "results": {
            "models": [{"name": "fct_yield", "status": "success", "seconds": 0.25}],
            "tests": [result("fct_yield_key", "warn", "fct_yield", "x", 3), result("secret", "pass", "fct_secret", "custodian_positions")],
        },
    },
    {
        "transform_id": 1,
        "run_id": "a" * 32,
        "started_at": "2026-11-19T22:31:00+00:00",
        "ended_at": None,
        "as_of": None,
        "results": {
            "models": [],
            "tests": [result("prices_key", "fail", "", "tiingo_prices", 1), result("fct_yield_key", "pass", "fct_yield", "x")],
        },
    },
]
LINEAGE = {
    "parents": {"fct_yield": ["stg_rates", "codes"], "stg_rates": ["tiingo_prices"]},
    "fields": {"fct_yield": {"pct": ["tiingo_prices.close", "codes.unit"]}, "fct_secret": {"x": ["tiingo_prices.open"]}},
    "datasets": {
        "tiingo_prices": {"source": "Tiingo", "licence": "free & open", "classification": "internal", "redistribution": "allowed"}
    },
}
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
        "securities": "security_id valid_from ticker name cik security_type currency valid_to",
        "prices": "ticker trade_date close adj_close security_id",
        "returns": "ticker trade_date vol_63d drawdown security_id",
        "valuation": "ticker trade_date pe_ratio pe_null_reason security_id",
        "actions": "security_id ex_date kind cash_amount currency split_to split_from",
        "fundamentals": "cik concept period_start period_end unit known_from known_to value accession",
        "yields": "curve_date tenor yield_pct",
        "spreads": "curve_date spread_2s10s_bp spread_3m10y_bp spread_5s30s_bp",
        "fx": "rate_date quote_currency rate",
        "freshness": "dataset partitions rows last_day last_known latency_days checked_on",
        "coverage": "dataset month days rows sessions",
        "incomplete_days": "dataset coverage_date status row_count usual_count",
        "quarantine": "dataset lake_partition row_number reasons",
        "close_differences": "trade_date ticker_tiingo close_tiingo close_massive difference",
        "vendor_restatements": "known_date dataset subject item value_before value_after origin",
        "loads": "dataset lake_partition lake_commit rows known_at",
        "run_loads": "transform_id dataset loads rows",
    }
    frames: dict[str, Any] = {name: pd.DataFrame(columns=text.split()) for name, text in columns.items()}
    return Frames(charted=(), runs=(), samples={"fct_yield": SAMPLE}, **frames)


SAMPLE = [("<img src=x>", "1.5"), ("infinity", None)]
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


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Build frames of one ticker over two years, a yield curve, an exchange rate and a restated revenue."""
    price = pd.Series(range(100, 100 + len(DAYS)), dtype=float)
    prices = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "close": price, "adj_close": price, "security_id": "AAPL.1"})
    returns = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "vol_63d": 0.2, "drawdown": -0.125, "security_id": "AAPL.1"})
    valuation = pd.DataFrame({"ticker": "AAPL", "trade_date": DAYS, "security_id": "AAPL.1"})
    valuation["pe_ratio"] = [None] * 10 + [12.5] * (len(DAYS) - 10)
    valuation["pe_null_reason"] = ["no_filing"] * 10 + [None] * (len(DAYS) - 10)
    yields = pd.DataFrame(
        [(day, tenor, value) for day in DAYS for tenor, value in (("3M", 0.05), ("2Y", 0.25), ("10Y", 1.78))],
        columns=["curve_date", "tenor", "yield_pct"],
    )
    spreads = pd.DataFrame({"curve_date": DAYS, "spread_2s10s_bp": 153.0, "spread_3m10y_bp": 173.0, "spread_5s30s_bp": None})
    fx = pd.DataFrame({"rate_date": DAYS, "quote_currency": "USD", "rate": 1.3194})
    rows = [
        ("tiingo_prices", 1, len(DAYS), DAYS[-1], "2026-11-20 22:30", 5.0, CHECKED_ON),
        ("sec_filers", 1, 3, pd.NaT, "2013-03-01 12:00", 30.0, CHECKED_ON),
    ]
    freshness = pd.DataFrame(rows, columns=list(empty_frames().freshness.columns))
    coverage = pd.DataFrame(
        [("tiingo_prices", pd.Timestamp("2012-01-01"), 20, 80, 20), ("tiingo_prices", pd.Timestamp("2012-03-01"), 11, 44, None)],
        columns=["dataset", "month", "days", "rows", "sessions"],
    )
    security = ("AAPL.1", DAYS[0], "AAPL", "Apple <Inc.>", 320193.0, "common", "USD", pd.NaT)
    dividend = ("AAPL.1", DAYS[5], "dividend", 2.65, "USD", None, None)
    return replace(
        empty_frames(),
        charted=("AAPL",),
        securities=pd.DataFrame([security], columns=list(empty_frames().securities.columns)),
        actions=pd.DataFrame([dividend], columns=list(empty_frames().actions.columns)),
        loads=pd.DataFrame(
            [("tiingo_prices", "ticker=AAPL/year=2013", 1, 44, "2026-11-20 22:30")], columns=list(empty_frames().loads.columns)
        ),
        run_loads=pd.DataFrame([(2, "tiingo_prices", 1, 44)], columns=list(empty_frames().run_loads.columns)),
        runs=RUNS,
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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[ExportedMart]:
    """One mart of two rows. Its description contains markup."""
    folder = tmp_path_factory.mktemp("exported")
    columns = (Column("tenor", "text", 'a "quote"'), Column("pct", "numeric(8,4)", ""))
    mart = Mart("fct_yield", "One row per day & <script>alert(1)</script>.", columns, ("tenor",))
    (folder / "fct_yield.csv").write_text('tenor,pct\n"<img src=x>",1.5000\n2Y,0.2500\n', encoding="utf-8")
    files = [ExportedFile(format_, folder / f"fct_yield.{format_}", 1234, format_[0] * 64) for format_ in ("parquet", "csv", "json")]
    return [ExportedMart(mart, 2, tuple(files))]


def version(*, docs: bool = True, previous: str | None = None) -> VersionInfo:
    return VersionInfo("abc123", previous, docs, None, {"fct_yield": RowChanges(added=1, removed=0, changed=2)}, TERMS, LINEAGE)


@pytest.fixture(scope="module")
def files(frames: Frames, exported: list[ExportedMart]) -> dict[str, bytes]:
    """All files of a version."""
    return pages.render_pages(version(), exported, frames)


@pytest.fixture(scope="module")
def rendered(files: dict[str, bytes]) -> dict[str, bytes]:
    """Its pages, without their style sheet, scripts and data."""
    return {name: page for name, page in files.items() if name.endswith(".html")}


def test_every_page_is_well_formed_and_requests_nothing_external(rendered: dict[str, bytes]) -> None:
    for name, page in rendered.items():
        tags = parse_page(page).tags
        scripts = {str(attributes.get("src")).rpartition("/")[2] for tag, attributes in tags if tag == "script"}
        assert scripts == {"uPlot.iife.min.js", "site.js"} | ({"sql.js"} if name == "sql.html" else set())
        assert not [tag for tag, attributes in tags if tag in ("iframe", "object", "img", "style") or "style" in attributes]
        loaded = [value for tag, attributes in tags if tag != "a" for key, value in attributes.items() if key in ("href", "src")]
        assert {value for value in loaded if ":" in str(value)} <= {"data:,"}
        followed = [str(attributes["href"]) for tag, attributes in tags if tag == "a"]
        assert all(href.startswith("https://www.sec.gov/") for href in followed if ":" in href), name
        (policy,) = [str(attributes["content"]) for _, attributes in tags if attributes.get("http-equiv") == "Content-Security-Policy"]
        assert "unsafe" not in (policy.replace("'wasm-unsafe-eval'", "") if name == "sql.html" else policy)


def test_every_link_points_to_a_file_of_the_version_or_an_anchor_on_the_page(
    exported: list[ExportedMart], files: dict[str, bytes], rendered: dict[str, bytes]
) -> None:
    existing = {*files, "docs.html", "catalogue.json", "SHA256SUMS", *(f"marts/{file.path.name}" for file in exported[0].files)}
    ids = {name: {attributes["id"] for _, attributes in parse_page(page).tags if "id" in attributes} for name, page in rendered.items()}
    for name, page in rendered.items():
        tags = parse_page(page).tags
        links = [attributes[key] for _, attributes in tags for key in ("href", "src", "data-source") if key in attributes]
        for href in [str(href) for href in links if ":" not in str(href)]:
            target, _, place = href.partition("#")
            key = str(Path("/", name).parent.joinpath(target).resolve()).lstrip("/") if target else name
            assert key in existing, (name, href)
            assert not place or key == "docs.html" or place in ids[key], (name, href)


def test_the_landing_page_has_the_same_links_one_folder_up(files: dict[str, bytes]) -> None:
    page = files["index.html"]
    landing = publication.rewrite_links(page, "abc123")
    inner = [str(attributes["href"]) for tag, attributes in parse_page(page).tags if tag == "a"]
    outer = [str(attributes["href"]) for tag, attributes in parse_page(landing).tags if tag == "a"]
    assert outer == [f"v/abc123/{href.removeprefix('./')}" if href.startswith("./") else href for href in inner]
    assert b'src="v/abc123/site.js"' in landing


def test_tables_have_headers_and_numbers_are_aligned_right(files: dict[str, bytes]) -> None:
    page = files["index.html"].decode()
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
    assert section.tables[0].rows == [
        [
            '<a href="./securities/AAPL.1.html">AAPL</a>',
            "Revenue",
            "Year to 2009-09-26",
            "36,537",
            "42,905",
            "17.4 %",
            "2009-10-28",
            "2010-01-26",
            '<a href="https://www.sec.gov/Archives/edgar/data/320193/b/b-index.htm" rel="noreferrer">b</a>',
        ]
    ]
    note = section.figures[0].note.replace("\N{NO-BREAK SPACE}", " ")
    assert "was 36.54 billion USD when first filed, and has been 42.91 billion USD since 26 Jan 2010" in note
    assert ">36.5<" in section.figures[0].svg
    assert ">42.9<" in section.figures[0].svg


def test_the_overview_has_the_last_session_and_the_total_return_of_252_sessions(frames: Frames) -> None:
    section = sections.build_overview(frames)
    assert section
    last = 99 + len(DAYS)
    expected = [
        '<a href="./securities/AAPL.1.html">AAPL</a>',
        "2013-02-28",
        f"{last}.00",
        f"{(last / (last - 252) - 1) * 100:.1f} %",
        "20.0 %",
        "\N{MINUS SIGN}12.5 %",
        "12.5",
    ]
    assert list(section.tables[0].rows[0][:-1]) == expected


def test_coverage_shows_full_half_and_empty_months_differently(frames: Frames) -> None:
    section = sections.build_coverage(frames.coverage)
    assert section
    wide = section.figures[0].svg.split("</svg>")[0]
    cells = re.findall(r'class="(cell|void)"[^/]*?(?:fill-opacity="([\d.]+)")?/>', wide)
    assert cells == [("cell", "1.00"), ("void", ""), ("cell", "0.50")]
    assert section.tables[0].rows == [["tiingo_prices", "31"]]
    later = frames.coverage.assign(month=frames.coverage["month"] + pd.DateOffset(years=9))
    both = sections.build_coverage(pd.concat([frames.coverage, later]))
    assert both
    assert both.figures[0].svg.split("</svg>")[0].count('class="void"') == 1 + 1 + 1 + 1  # one month on each side of nine empty years


def test_problems_are_listed_worst_or_newest_first(frames: Frames) -> None:
    section = sections.build_problems(frames)
    assert section
    assert section.lead == (
        "Quarantined rows: 1; incomplete days: 2; closing prices on which two vendors differ: 2; values restated by a vendor: 20."
    )
    quarantine, incomplete_days, differences, restatements = section.tables
    link = '<a href="./datasets/tiingo_prices.html">tiingo_prices</a>'
    assert quarantine.rows == [[link, "ticker=PMV/year=2015", "163", "low is 0.5, which breaks low <= close with 0.4"]]
    assert [row[1:3] for row in incomplete_days.rows] == [["2016-09-01", "partial"], ["2011-01-06", "no trading session"]]
    assert [row[0] for row in differences.rows] == ["IBM", "AAPL"]
    assert differences.rows[0][-1] == "\N{MINUS SIGN}3.00 %"
    assert (len(restatements.rows), restatements.caption) == (20, "Values restated by a vendor")
    assert restatements.rows[0][3:5] == ["500.0000", "549.0300"]


def test_several_tables_in_a_section_have_visible_captions(files: dict[str, bytes]) -> None:
    page = files["quality.html"].decode()
    quality = page[page.index('id="problems"') : page.index('id="runs"')]
    captions = re.findall(r"<caption([^>]*)>", quality)
    assert len(captions) == 4
    assert not any("visually-hidden" in attributes for attributes in captions)


def test_a_dataset_is_late_by_its_contract_in_words_and_colour(frames: Frames) -> None:
    section = sections.build_freshness(frames)
    assert section
    statuses = {re.sub("<.*?>", "", row[0]): row[1] for row in section.tables[0].rows}
    assert statuses["tiingo_prices"] == '<span class="status bad">late by 6 days</span>'
    assert statuses["sec_filers"] == '<span class="status good" data-late-after="2013-03-31">fresh</span>'
    assert section.lead.startswith("1 of 2 datasets are late on 11")
    on_time = replace(frames, freshness=frames.freshness.assign(checked_on=DAYS[-1] + pd.Timedelta(days=5)))
    assert "late by" not in str(sections.build_freshness(on_time))


def test_a_test_is_shown_with_its_last_result_if_its_rows_may_be_published(rendered: dict[str, bytes]) -> None:
    quality = rendered["quality.html"].decode()
    tests = quality[quality.index('id="tests"') :]
    assert "2 of 2 tests did not pass." in tests
    assert "secret" not in quality
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", tests)]
    assert [re.sub(r"\|+", "|", row).strip("|") for row in rows] == [
        "fct_yield_key|warned|3|fct_yield|build 2",
        "prices_key|failed|1|build 1",
    ]
    assert ">warned<" in rendered["marts/fct_yield.html"].decode()
    assert ">failed<" in rendered["runs/1.html"].decode()
    assert "secret" not in "".join(page.decode() for name, page in rendered.items() if name.startswith("runs/"))


def test_lineage_leads_from_a_mart_to_the_datasets_and_back(rendered: dict[str, bytes]) -> None:
    mart, dataset = rendered["marts/fct_yield.html"].decode(), rendered["datasets/tiingo_prices.html"].decode()
    assert 'stg_rates</th><td class="p"><a href="../datasets/tiingo_prices.html">tiingo_prices</a>' in mart
    arrow = "\N{RIGHTWARDS ARROW}"
    assert f"tiingo_prices {arrow} stg_rates {arrow} fct_yield" in dataset
    assert '<a href="../datasets/tiingo_prices.html">tiingo_prices.close</a>, codes.unit</td>' in mart
    assert 'class="w">close</th><td class="p"><a href="../marts/fct_yield.html">fct_yield</a>: pct</td></tr>' in dataset
    assert "fct_secret" not in dataset


def test_a_security_has_its_figures_newest_first_and_the_reason_of_a_missing_ratio(
    frames: Frames, exported: list[ExportedMart], rendered: dict[str, bytes]
) -> None:
    page = rendered["securities/AAPL.1.html"].decode()
    sessions = re.findall(r"<tr><th scope=\"row\" class=\"w\">(\d{4}-\d\d-\d\d)</th>", page[page.index('id="sessions"') :])
    assert sessions[:2] == ["2013-02-28", "2013-02-27"]
    assert "2.6500 USD" in page
    without = replace(frames, valuation=frames.valuation.head(10), prices=frames.prices.head(10))
    assert '<td class="w">no filing</td>' in pages.render_pages(version(), exported, without)["securities/AAPL.1.html"].decode()


@pytest.mark.parametrize("security_id", ["BRK/B.1", "../../x", "..", "a b", ""])
def test_a_page_is_never_named_by_a_path(security_id: str) -> None:
    assert re.fullmatch(r"securities/[0-9a-f]{16}\.html", links.name_page("securities", security_id))


def test_the_data_of_a_chart_are_its_values(files: dict[str, bytes]) -> None:
    lines = files["charts/index-growth.csv"].decode().splitlines()
    assert lines[:3] == ["date,AAPL", "2011-01-03,100", "2011-01-04,101"]
    assert files["charts/index-curve.csv"].decode().splitlines()[1].startswith("3M,0.05")
    name, document = re.fullmatch(r'finelt\.receive\("(\w+)",(.*)\);\n', files["charts/index-growth.js"].decode()).groups()  # type: ignore[union-attr]
    data = json.loads(document)
    assert (name, data["x"][0], data["lines"][0]["values"][:2]) == ("growth", (DAYS[0] - pd.Timestamp(0)).days, [100, 101])


def test_data_without_problems_is_reported_as_such(frames: Frames) -> None:
    section = sections.build_problems(replace(empty_frames(), coverage=frames.coverage))
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


def test_text_from_the_warehouse_is_escaped(rendered: dict[str, bytes]) -> None:
    for page in rendered.values():
        assert b"<script>" not in page
        assert b"<img" not in page
        assert b"<Inc.>" not in page
    assert b"&lt;img src=x&gt;" in rendered["marts/fct_yield.html"]
    assert f'9999-12-31</th><td class="n">{html_tables.EMPTY}</td>'.encode() in rendered["marts/fct_yield.html"]
    assert b"Apple &lt;Inc.&gt;" in rendered["securities/AAPL.1.html"]


def test_changes_name_the_version_they_are_counted_from(exported: list[ExportedMart]) -> None:
    page = pages.render_pages(version(previous="0ld"), exported, empty_frames())["index.html"].decode()
    assert "Compared with version 0ld." in page
    row = re.search(r'<tr><th scope="row" class="w"><a href="./marts/fct_yield.html">fct_yield</a></th>(.*?)</tr>', page)
    assert row
    assert re.findall(r'<td class="n">(.*?)</td>', row[1])[1:] == ["1", html_tables.EMPTY, "2"]


def test_the_same_frames_give_the_same_bytes(frames: Frames, exported: list[ExportedMart], files: dict[str, bytes]) -> None:
    assert pages.render_pages(version(), exported, frames) == files


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
    page = pages.render_withdrawn_pages({**catalogue, "withdrawn": ["fct_price_daily"]}, docs=True)["index.html"]
    links = {str(attributes["href"]) for tag, attributes in parse_page(page).tags if tag == "a"}
    assert {"./marts/fct_yield.html", "./marts/fct_yield.csv", "./docs.html", "./catalogue.json"} <= links
    assert b"fct_price_daily" in page
