"""What a task needs and gives. Imports nothing, so that a worker needs no driver of Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRICES = "staging.stg_tiingo__prices"
VALUATIONS = "marts.fct_valuation_daily"
MODELS = ("intermediate.int_prices_adjusted", "marts.fct_price_daily", "marts.fct_return_daily", VALUATIONS)  # in the order of their build
MARTS = tuple(name.partition(".")[2] for name in MODELS if name.startswith("marts."))
SECURITIES, NEWS = "intermediate.int_securities", "main.news"
PER_TICKER = (SECURITIES, "intermediate.int_corporate_actions", NEWS)  # small tables of which a task needs the rows of its tickers


@dataclass(frozen=True)
class SmallTable:
    """A table of the warehouse: the types of its columns, and its rows as text."""

    columns: Mapping[str, str]
    rows: Sequence[tuple[str | None, ...]]


@dataclass(frozen=True)
class Definitions:
    """The SQL of the staging view of prices and of the models, and the tables that they join, by schema.name."""

    code: Mapping[str, str]
    tables: Mapping[str, SmallTable]


@dataclass(frozen=True)
class Prices:
    """A snapshot of the Iceberg table of prices: where its metadata is, what pyiceberg needs to read it, and each partition's commit."""

    metadata: str
    properties: Mapping[str, str]
    snapshot: int
    commits: Mapping[str, int]


@dataclass(frozen=True)
class Built:
    """What a task wrote: the URI of each mart's file, and the number of its rows. A mart without rows has no file."""

    files: Mapping[str, str]
    rows: Mapping[str, int]
