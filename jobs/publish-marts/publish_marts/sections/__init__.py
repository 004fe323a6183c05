"""The sections of the pages: pure functions from frames to text, charts and tables, or to None without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish_marts.sections.datasets import build_dataset, build_lineage, format_fields
from publish_marts.sections.exchange_rates import build_exchange_rates
from publish_marts.sections.prices import build_overview, build_prices, build_risk
from publish_marts.sections.quality import build_coverage, build_freshness, build_problems
from publish_marts.sections.rates import build_rates
from publish_marts.sections.restatements import build_restatements
from publish_marts.sections.runs import build_run, build_runs, build_tests, describe_run, find_last_results, select_tests
from publish_marts.sections.section import Figure, Section
from publish_marts.sections.securities import build_securities, build_security, describe_security, find_ticker, list_securities
from publish_marts.sections.valuation import build_valuation

if TYPE_CHECKING:
    from publish_marts.frames import Frames

__all__ = [
    "Figure",
    "Section",
    "build_coverage",
    "build_dataset",
    "build_exchange_rates",
    "build_freshness",
    "build_landing",
    "build_lineage",
    "build_overview",
    "build_prices",
    "build_problems",
    "build_rates",
    "build_restatements",
    "build_risk",
    "build_run",
    "build_runs",
    "build_securities",
    "build_security",
    "build_tests",
    "build_valuation",
    "describe_run",
    "describe_security",
    "find_last_results",
    "find_ticker",
    "format_fields",
    "list_securities",
    "select_tests",
]
_LANDING = (
    build_overview,
    build_prices,
    build_risk,
    build_rates,
    build_exchange_rates,
    build_valuation,
    build_restatements,
    build_freshness,
)


def build_landing(frames: Frames) -> list[Section]:
    """Build the sections of the landing page that have data, in their order."""
    charted = frames.select_tickers(frames.charted)
    return [section for build in _LANDING if (section := build(charted))]
