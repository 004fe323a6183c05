"""The sections of the landing page. Each is a pure function from frames to text, charts and tables, or to None without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish_marts.sections.exchange_rates import build_exchange_rates
from publish_marts.sections.prices import build_overview, build_prices, build_risk
from publish_marts.sections.quality import build_coverage, build_freshness, build_quality
from publish_marts.sections.rates import build_rates
from publish_marts.sections.restatements import build_restatements
from publish_marts.sections.section import Figure, Section
from publish_marts.sections.valuation import build_valuation

if TYPE_CHECKING:
    from publish_marts.frames import Frames

__all__ = [
    "Figure",
    "Section",
    "build_coverage",
    "build_exchange_rates",
    "build_freshness",
    "build_overview",
    "build_prices",
    "build_quality",
    "build_rates",
    "build_restatements",
    "build_risk",
    "build_sections",
    "build_valuation",
]
_BUILDERS = (
    build_overview,
    build_prices,
    build_risk,
    build_rates,
    build_exchange_rates,
    build_valuation,
    build_restatements,
    build_freshness,
    build_coverage,
    build_quality,
)


def build_sections(frames: Frames) -> list[Section]:
    """Build the sections that have data, in the order of the page."""
    return [section for build in _BUILDERS if (section := build(frames))]
