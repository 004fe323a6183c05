"""The published site in a browser: phone and desktop, light and dark, without JavaScript, without requests to other hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests import environments

if TYPE_CHECKING:
    from pathlib import Path

LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, text of usual size
LOOK = """
import itertools, json, sys
from playwright.sync_api import sync_playwright
IN_PAGE = '''() => {
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const read = (text) => text.match(/[0-9.]+/g).map(Number);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = read(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = [99, ""];
  for (const element of document.querySelectorAll("h1,h2,h3,p,a,td,th,figcaption,svg text")) {
    if (!element.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(read(element.closest("svg") ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least[0]) least = [ratio, element.textContent.trim().slice(0, 40)];
  }
  const cells = [...document.querySelectorAll("td")].filter((cell) => cell.getClientRects().length);
  return {
    wider_by: document.documentElement.scrollWidth - window.innerWidth,
    least_contrast: least,
    cells: cells.length,
    charts: [...document.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width > 0).length,
    background: behind(document.body),
  };
}'''
seen = []
with sync_playwright() as tools:
    browser = tools.chromium.launch(executable_path=sys.argv[2], args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
    for scheme, width, script in itertools.product(("light", "dark"), (1280, 390), (True, False)):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=script)
        page, asked, said = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(sys.argv[1])
        seen.append({"scheme": scheme, "width": width, "script": script, "asked": asked, "said": said, **page.evaluate(IN_PAGE)})
        context.close()
    browser.close()
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(demo_directory: Path) -> list[dict[str, Any]]:
    """What the browser saw of the page of the demo, by colour scheme, width, and JavaScript on or off."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        if os.environ.get("FINELT_REQUIRE_BROWSER") == "1":
            pytest.fail("FINELT_REQUIRE_BROWSER=1, but there is no chromium on this machine")
        pytest.skip("no chromium on this machine")
    python = environments.python("browser", "playwright==1.65.2")
    page = (demo_directory / "site" / "index.html").as_uri()
    done = subprocess.run([python, "-c", LOOK, page, browser], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_page_requests_no_other_host_and_logs_no_error(seen: list[dict[str, Any]]) -> None:
    assert len(seen) == 8
    for look in seen:
        assert all(url.startswith("file://") for url in look["asked"])
        assert look["said"] == []


def test_a_page_is_not_wider_than_the_phone(seen: list[dict[str, Any]]) -> None:
    assert [look["wider_by"] for look in seen] == [0] * len(seen)


def test_text_has_enough_contrast_in_light_and_dark(seen: list[dict[str, Any]]) -> None:
    for look in seen:
        ratio, text = look["least_contrast"]
        assert ratio >= LEAST_CONTRAST, (look["scheme"], text)
        assert (sum(look["background"][:3]) > 600) == (look["scheme"] == "light")


def test_tables_and_charts_work_without_javascript(seen: list[dict[str, Any]]) -> None:
    for look in seen:
        assert look["cells"] > 300
        assert look["charts"] >= 8
