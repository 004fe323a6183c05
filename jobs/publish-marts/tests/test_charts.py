"""Charts are pure functions from numbers to SVG."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publish_marts import charts
from publish_marts.charts import Chart, Line

FINITE = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 4))


def build_chart(*lines: Line, name: str = "c", **more: object) -> Chart:
    return Chart(name, "A title", "A description", lines, lambda value, decimals: f"{value:,.{decimals}f}", **more)  # type: ignore[arg-type]


def draw_elements(chart: Chart) -> list[ET.Element]:
    return parse_svg(chart.draw())


def parse_svg(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(f"<all>{svg}</all>"))  # noqa: S314  our own drawing


@given(FINITE, FINITE, st.integers(3, 8))
def test_ticks_are_evenly_spaced_and_enclose_the_range(first: float, second: float, max_ticks: int) -> None:
    low, high = min(first, second), max(first, second)
    ticks = charts.nice_ticks(low, high, max_ticks)
    steps = {round(after - before, 6) for before, after in pairwise(ticks)}
    assert ticks[0] <= low + max(steps) * 1e-6
    assert ticks[-1] >= high - max(steps) * 1e-6
    assert 2 <= len(ticks) <= max_ticks + 3
    assert max(steps) - min(steps) <= 1e-5 * max(steps)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [(0, 0.12, {"0.00", "0.05", "0.10", "0.15"}), (0, 900, {"0", "200", "400", "600", "800", "1,000"})],
)
def test_axis_labels_have_enough_decimals_to_differ(low: float, high: float, texts: set[str]) -> None:
    wide, _ = draw_elements(build_chart(Line("", [(1, low), (2, high)], 0)))
    assert {text.text for text in wide.iter("text") if text.attrib.get("text-anchor") == "end"} == texts


@pytest.mark.parametrize(
    ("low", "high", "max_ticks", "texts"),
    [
        (date(2009, 7, 1), date(2013, 2, 28), 4, ["2010", "2011", "2012", "2013"]),
        (date(2012, 11, 20), date(2013, 2, 5), 8, ["Dec", "Jan 2013", "Feb"]),
        (date(2012, 5, 3), date(2012, 5, 9), 8, ["2012-05-03"]),
    ],
)
def test_date_ticks_are_first_days_of_a_period_and_not_too_many(low: date, high: date, max_ticks: int, texts: list[str]) -> None:
    assert [tick.text for tick in charts.date_ticks(low.toordinal(), high.toordinal(), max_ticks)] == texts


@given(st.lists(st.floats(0, 200, allow_nan=False), max_size=6))
def test_labels_are_spread_apart_in_order_and_within_bounds(targets: list[float]) -> None:
    positions = charts.spread_apart(targets, 14, 0, 200)
    ordered = [y for _, y in sorted(zip(targets, positions, strict=True))]
    assert all(after - before >= 14 - 1e-6 for before, after in pairwise(sorted(positions)))
    assert len(set(targets)) < len(targets) or ordered == sorted(positions)
    assert all(-1e-6 <= y <= 200 + 1e-6 for y in positions)


def test_a_chart_is_well_formed_named_and_described_and_no_data_escapes_into_markup() -> None:
    chart = build_chart(Line('<script>&"', [(date(2012, 1, 2).toordinal(), 1.0), (date(2012, 5, 2).toordinal(), 2.0)], 0), unit="<b>")
    wide, narrow = draw_elements(chart)
    for svg in (wide, narrow):
        assert svg.attrib["role"] == "img"
        assert [svg.find("title").text, svg.find("desc").text] == ["A title", "A description"]  # type: ignore[union-attr]
        assert {element.tag for element in svg.iter()} <= {"svg", "title", "desc", "line", "path", "text"}
        assert '<script>&"' in [text.text for text in svg.iter("text")]
    assert set(wide.attrib["aria-labelledby"].split()).isdisjoint(narrow.attrib["aria-labelledby"].split())


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    chart = build_chart(Line("a", [(1, 1.0), (2, 2.0), (3, None), (4, 2.0), (5, 1.0)], 0))
    (path,) = re.findall(r'class="line t0" d="([^"]*)"', charts.Chart.draw(chart).split("</svg>")[0])
    assert path.count("M") == 2


def test_a_stepped_line_keeps_its_value_until_the_next_point() -> None:
    svg = build_chart(Line("a", [(1, 1.0), (2, 2.0)], 0, stepped=True)).draw()
    (path,) = re.findall(r'class="line t0" d="([^"]*)"', svg.split("</svg>")[0])
    assert re.fullmatch(r"M\S+ \S+h0\.1H\S+V\S+", path)


def test_text_stays_inside_the_drawing() -> None:
    days = [(float(date(2012, month, 1).toordinal()), float(month**3)) for month in range(1, 13)]
    for svg in draw_elements(build_chart(Line("a long name for a line", days, 0), unit="units", zero=True)):
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for text in svg.iter("text"):
            x, size = float(text.attrib["x"]), len(text.text or "") * 6.0
            left = x - {"end": size, "middle": size / 2}.get(text.attrib.get("text-anchor", ""), 0)
            assert left >= -1
            assert left + size <= width + 1
            assert 0 <= float(text.attrib["y"]) <= height


def test_a_chart_without_values_is_empty() -> None:
    assert build_chart(Line("a", [(1, None)], 0)).draw().strip() == ""


def test_downsampling_keeps_ends_extremes_and_gaps() -> None:
    points: list[charts.Point] = [(float(x), float(x % 7)) for x in range(1000)]
    points[500], points[700], points[300] = (500.0, 99.0), (700.0, -99.0), (300.0, None)
    kept = charts.downsample(points, 100)
    assert len(kept) <= 130
    assert {points[0], points[-1], points[500], points[700], points[300]} <= set(kept)
    assert kept == sorted(kept)
    assert charts.downsample(points[:50], 100) == points[:50]


def test_the_years_of_a_heat_map_do_not_overlap_where_months_are_left_out() -> None:
    months = [*[f"2013-{month:02}" for month in range(1, 13)], "2014-01", "2023-01", *[f"2023-{month:02}" for month in range(2, 13)]]
    for svg in charts.draw_heat_map("m", "Coverage", "Days", [("a", [1.0] * len(months))], months).split("</svg>")[:2]:
        places = [float(x) for x in re.findall(r'<text class="tick" x="([\d.]+)"', svg)]
        assert len(places) >= 2
        assert all(after - before >= 28 for before, after in pairwise(places))


def test_a_heat_map_has_a_cell_per_month_and_an_outline_for_a_missing_one() -> None:
    months = [f"2012-{month:02}" for month in range(1, 13)]
    svg = charts.draw_heat_map("m", "Coverage", "Days", [("a & b", [1.0, None, 0.0, *[0.5] * 9])], months)
    wide, _ = parse_svg(svg)
    kinds = [rect.attrib["class"] for rect in wide.iter("rect")]
    assert (kinds.count("cell"), kinds.count("void")) == (11, 1)
    assert "a & b" in [text.text for text in wide.iter("text")]
