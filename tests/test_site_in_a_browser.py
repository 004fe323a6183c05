"""The published site in a browser: read by phone, desktop and assistive technology, used by clicking, with and without JavaScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import environments

REPOSITORY = Path(__file__).parents[1]
AXE = REPOSITORY / "jobs" / "publish-marts" / "web" / "node_modules" / "axe-core" / "axe.min.js"
MAX_PAGE_BYTES = 300_000
PRELUDE = """
import functools, http.server, json, sys, threading
from pathlib import Path
from playwright.sync_api import sync_playwright

site, browser_path, axe = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text()
version = json.loads((site / "latest.json").read_text())["version"]

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
threading.Thread(target=server.serve_forever, daemon=True).start()
root = f"http://127.0.0.1:{server.server_port}/"
arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

def open_page(context, address, asked, said):
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: response.status >= 400 and said.append(f"{response.status} {response.url}"))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    return page
"""
LOOK = (
    PRELUDE
    + """
SEE = '''() => ({
  wider_by: document.documentElement.scrollWidth - window.innerWidth,
  cells: [...document.querySelectorAll("td")].filter((cell) => cell.getClientRects().length).length,
  charts: [...document.querySelectorAll("svg, .uplot")].filter((chart) => chart.getBoundingClientRect().width > 0).length,
  cut: [...document.querySelectorAll(".scroll")].filter((table) => table.scrollWidth > table.clientWidth).map((table) => table.ariaLabel),
})'''
CHECK = '''async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})).violations
  .map((rule) => `${rule.id}: ${rule.nodes[0].html.slice(0, 200)} ${rule.nodes[0].failureSummary}`)'''
inner = f"v/{version}/"
kinds = ["", inner + "quality.html", inner + "sql.html", inner + "marts/fct_restatement.html", inner + "securities/AAPL.1.html"]
kinds += [inner + "datasets/tiingo_prices.html"]
seen = []
with sync_playwright() as tools:
    browser = tools.chromium.launch(executable_path=browser_path, args=arguments)
    looks = [(kind, "dark", 390, True) for kind in kinds]
    looks += [("", "light", 1280, True), (kinds[1], "light", 1280, True), ("", "light", 1280, False), ("", "dark", 390, False)]
    for kind, scheme, width, script in looks:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=script)
        asked, said = [], []
        page = open_page(context, root + kind, asked, said)
        look = {"page": kind, "scheme": scheme, "width": width, "script": script, **page.evaluate(SEE)}
        if script:
            page.evaluate(axe)
            look["violations"] = page.evaluate(CHECK)
        seen.append({**look, "asked": asked, "said": said, "root": root})
        context.close()
    browser.close()
print(json.dumps(seen))
"""
)
CLICK = (
    PRELUDE
    + """
found = {}
with sync_playwright() as tools:
    browser = tools.chromium.launch(executable_path=browser_path, args=arguments)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    asked, said = [], []
    page = open_page(context, root, asked, said)
    growth = page.locator("figure[data-chart=growth]")
    growth.locator(".uplot").wait_for()
    found["bytes"] = sum(len(page.request.get(url).body()) for url in set(asked) if url.startswith(root))
    growth.scroll_into_view_if_needed()
    legend = growth.locator(".u-legend")
    growth.locator(".u-over").hover(position={"x": 200, "y": 50})
    found["hover"] = legend.inner_text()
    growth.locator(".chart").press("ArrowRight")
    found["spoken"] = growth.locator("[aria-live]").inner_text()
    growth.get_by_role("button", name="1Y").click()
    growth.locator(".u-over").hover(position={"x": 1, "y": 50})
    found["first_of_last_year"] = legend.inner_text()
    with page.expect_download() as download:
        growth.get_by_role("link", name="Data of this chart").click()
    found["chart_csv"] = Path(download.value.path()).read_text().splitlines()[:2]

    legend_texts = "figure => [...figure.querySelectorAll('.u-legend *')].map((text) => text.getBoundingClientRect().right)"
    page.set_viewport_size({"width": 390, "height": 900})
    while growth.locator(".u-wrap").evaluate("plot => plot.clientWidth") > 390:  # wait_for_function needs eval, which the pages forbid
        page.wait_for_timeout(50)
    found["legend"] = [growth.bounding_box()["width"], max(growth.evaluate(legend_texts))]
    page.set_viewport_size({"width": 1280, "height": 900})

    page.get_by_role("link", name="Documentation of the tables").click()
    page.locator("svg.icn use").first.wait_for(state="attached")
    shown_icons = "icons => icons.filter((icon) => icon.getBoundingClientRect().width).length"
    found["icons"] = page.locator("svg.icn use").evaluate_all(shown_icons)
    page.go_back()

    page.get_by_role("link", name="Data quality").click()
    tests = page.locator("#tests")
    names = lambda: tests.locator("tbody tr:not([hidden]) th").all_inner_texts()
    tests.get_by_role("button", name="Test").click()
    first = names()
    tests.get_by_role("button", name="Test").click()
    found["sorted"] = [first == sorted(first), names() == sorted(first, reverse=True)]
    tests.get_by_role("searchbox").fill("fct_yield key")
    found["filtered"] = names()

    page.get_by_role("link", name="Securities").click()
    page.get_by_role("link", name="AAPL").first.click()
    page.locator("figure .uplot").first.wait_for()
    found["security"] = page.locator("h1").inner_text()

    page.goto((site / "index.html").as_uri())
    page.locator("figure[data-chart=growth] .uplot").wait_for()

    asked.clear()
    page.goto(f"{root}v/{version}/sql.html")
    found["before_opening"] = [url for url in asked if "/assets/" in url]
    page.get_by_role("button", name="Open the console").click()
    page.locator("#query").wait_for(timeout=120_000)

    def query(sql, as_of=""):
        page.locator("#sql").fill(sql)
        page.locator("#as-of").fill(as_of)
        page.get_by_role("button", name="Run").click()
        page.locator("#message.good, #message.bad").wait_for(timeout=120_000)
        rows = page.locator("#result tbody")
        return page.locator("#message").inner_text(), rows.inner_text() if rows.count() else ""

    found["counted"] = query("select count(*) from fct_yield where yield_pct is not null")
    found["outside"] = query("select * from 'https://example.com/x.csv'")
    found["as_of_now"] = query("select count(*) from fct_yield", "2099-01-01T00:00:00Z")
    found["too_early"] = query("select count(*) from fct_yield", "2001-01-01T00:00:00Z")
    found["no_zone"] = query("select count(*) from fct_yield", "2013-01-01T00:00:00")
    examples = page.locator("[data-example]")
    found["examples"] = []
    for index in range(examples.count()):
        examples.nth(index).click()
        found["examples"].append(query(page.locator("#sql").input_value()))
    found["elsewhere"] = [url for url in asked if not url.startswith((root, "blob:" + root))]
    browser.close()
found["said"] = said
print(json.dumps(found))
"""
)


def run_browser(program: str, site: Path) -> Any:
    """Run a program with the site in a browser; return what it found."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        if os.environ.get("FINELT_REQUIRE_BROWSER") == "1":
            pytest.fail("FINELT_REQUIRE_BROWSER=1, but there is no chromium on this machine")
        pytest.skip("no chromium on this machine")
    python = environments.python("browser", "playwright==1.65.2")
    command = [python, "-c", program, str(site), browser, str(AXE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(demo_directory: Path) -> list[dict[str, Any]]:
    """What the browser saw of each kind of page of the demo: dark on a phone, some also light on a desktop or without JavaScript."""
    return list(run_browser(LOOK, demo_directory / "site"))


@pytest.fixture(scope="module")
def clicked(demo_directory: Path) -> dict[str, Any]:
    """What a reader found by clicking."""
    return dict(run_browser(CLICK, demo_directory / "site"))


def test_a_page_requests_no_other_host_and_logs_no_error(seen: list[dict[str, Any]]) -> None:
    assert len(seen) == 10
    for look in seen:
        assert all(url.startswith((look["root"], "data:")) for url in look["asked"]), look["asked"]
        assert look["said"] == []


def test_a_page_is_not_wider_than_the_phone(seen: list[dict[str, Any]]) -> None:
    assert [look["page"] for look in seen if look["wider_by"] > 0] == []


def test_the_fields_of_a_dataset_fit_a_phone(seen: list[dict[str, Any]]) -> None:
    (dataset,) = [look for look in seen if "/datasets/" in look["page"]]
    assert (dataset["width"], "Quarantined rows" in dataset["cut"]) == (390, True)
    assert not {"Facts", "Fields", "Tables made from it"} & set(dataset["cut"])


def test_a_page_meets_wcag_aa_in_light_and_dark(seen: list[dict[str, Any]]) -> None:
    for look in seen:
        assert look.get("violations", []) == [], (look["page"], look["scheme"], look["width"])


def test_tables_and_charts_work_without_javascript(seen: list[dict[str, Any]]) -> None:
    landing = [look for look in seen if look["page"] == ""]
    assert {look["script"] for look in landing} == {True, False}
    for look in landing:
        assert look["cells"] > 150
        assert look["charts"] >= 8


def test_the_landing_page_is_small(clicked: dict[str, Any]) -> None:
    assert 50_000 < clicked["bytes"] < MAX_PAGE_BYTES


def test_a_chart_tells_its_values_by_mouse_and_by_keyboard(clicked: dict[str, Any]) -> None:
    assert "AAPL" in clicked["hover"]
    assert "2010" in clicked["hover"]
    assert "Equal weight" in clicked["spoken"]


def test_the_legend_of_a_chart_wraps_where_the_page_is_narrow(clicked: dict[str, Any]) -> None:
    width, right = clicked["legend"]
    assert width < 390
    assert right < 390


def test_dbts_documentation_has_its_icons_and_requests_no_missing_file(clicked: dict[str, Any]) -> None:
    assert clicked["icons"] > 5
    assert [text for text in clicked["said"] if text.startswith("404 ")] == []


def test_a_range_of_dates_zooms_in(clicked: dict[str, Any]) -> None:
    assert "2012" in clicked["first_of_last_year"]


def test_the_data_of_a_chart_can_be_downloaded(clicked: dict[str, Any]) -> None:
    header, first = clicked["chart_csv"]
    assert header.startswith("date,AAPL,")
    assert first.startswith("2009-07-01,100,")


def test_a_table_sorts_and_filters(clicked: dict[str, Any]) -> None:
    assert clicked["sorted"] == [True, True]
    assert clicked["filtered"] == ["fct_yield_key"]


def test_a_security_has_its_own_page(clicked: dict[str, Any]) -> None:
    assert clicked["security"] == "AAPL"


def test_the_sql_console_queries_the_published_tables_and_nothing_else(clicked: dict[str, Any], demo_directory: Path) -> None:
    assert clicked["before_opening"] == []
    [table] = (demo_directory / "site").glob("v/*/marts/fct_yield.csv")
    lines = table.read_text().splitlines()[1:]
    message, rows = clicked["counted"]
    assert (message.startswith("done"), int(rows)) == (True, sum(line.split(",")[2] != "" for line in lines))
    assert "disabled by configuration" in clicked["outside"][0]
    assert len(clicked["examples"]) == 5
    assert all(message.startswith("done") and rows for message, rows in clicked["examples"])
    assert clicked["elsewhere"] == []


def test_the_sql_console_reads_the_version_of_a_moment(clicked: dict[str, Any]) -> None:
    assert clicked["as_of_now"][0].startswith("done")
    assert "no version was published by 2001-01-01" in clicked["too_early"][0]
    assert "expected a date and a time with Z or an offset" in clicked["no_zone"][0]
