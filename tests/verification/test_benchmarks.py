"""The page of benchmarks: each measurement replaces its own part. What it measures is for scripts/bench to say, never for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from verification.benchmarks import load, measurement, page, tools

ROOT = Path(__file__).parents[2]


def test_a_measurement_replaces_its_own_part_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.write_part("scale", ["| a | b |", "", "slow"])
    page.write_part("steps", ["first"])
    page.write_part("scale", ["| a | b |", "", "fast"])
    text = page.PAGE.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {page.TITLES[part]}" for part in ("steps", "scale")]
    assert "slow" not in text
    assert text.count("fast") == 1
    assert "Written by `scripts/bench steps`." in text


def test_every_part_of_the_page_has_its_command() -> None:
    text = subprocess.run([ROOT / "scripts" / "bench", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {part}" in text for part in page.TITLES)


def test_a_missing_or_late_tool_is_reported_next_to_the_others() -> None:
    ours, tool, late = measurement.Measurement(10.0), tools.TOOLS[0], tools.TOOLS[1]
    runs = {"COPY BINARY, no key": [measurement.Measurement(8.0)], load.OURS: [ours]}
    text = "\n".join(
        load.page(
            load.LoadResult(
                1_000_000,
                runs,
                {"keys": measurement.Measurement(2.0)},
                {tool: (500_000, measurement.Measurement(20.0)), late: "missing: not done within 300 s"},
            )
        )
    )
    assert f"| {tool.name} | 500,000 | 20 | 25,000 | 4 times as fast |" in text
    assert f"| {late.name} | missing: not done within 300 s |" in text
    assert all(f"{name}; {reason}" in text for name, reason in tools.NOT_RUN.items())


def test_every_package_of_every_tool_is_pinned() -> None:
    assert all("==" in package for tool in tools.TOOLS for package in tool.packages)


def test_a_failed_program_is_reported_with_its_code_and_last_output() -> None:
    with pytest.raises(measurement.FailedError, match="ended with 3: alas") as failed:
        measurement.run_process([sys.executable, "-c", "import sys; sys.stderr.write('alas'); sys.exit(3)"])
    assert failed.value.code == 3
