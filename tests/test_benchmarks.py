"""The page of benchmarks: each measurement replaces its own part. What it measures is for scripts/bench to say, never for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks import page

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]


def test_a_measurement_replaces_its_own_part_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.write("scale", ["| a | b |", "", "slow"])
    page.write("steps", ["first"])
    page.write("scale", ["| a | b |", "", "fast"])
    text = page.PAGE.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {page.TITLES[part]}" for part in ("steps", "scale")]
    assert "slow" not in text
    assert text.count("fast") == 1
    assert "Written by `scripts/bench steps`." in text


def test_every_part_of_the_page_has_its_command() -> None:
    told = subprocess.run([ROOT / "scripts" / "bench", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {part}" in told for part in page.TITLES)
