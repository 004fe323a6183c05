"""The dbt project, read from its files: models, source tables, and what depends on a column."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DBT = REPOSITORY / "dbt"
_SOURCE = re.compile(r"source\('(\w+)', '(\w+)'\)")
_REF = re.compile(r"ref\('(\w+)'\)")
UNPIVOT = "unpivot("  # the macro that turns columns into rows


class DbtProject:
    """The models of a dbt project, and the source tables that its YAML declares."""

    def __init__(self, root: Path = DBT) -> None:
        self.root = root

    @cached_property
    def models(self) -> dict[str, str]:
        """The SQL of each model, by name."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted((self.root / "models").rglob("*.sql"))}

    @cached_property
    def sources(self) -> dict[str, dict[str, Any]]:
        """The declared source tables by dataset, each with the configuration that applies to it."""
        tables = {}
        for path in sorted((self.root / "models").rglob("*.yml")):
            for source in yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader).get("sources", ()):
                for table in source["tables"]:
                    tables[table["name"]] = {**table, "config": _merge_config(source, table)}
        return tables

    def find_readers(self, dataset: str, column: str | None = None) -> list[str]:
        """List the models that read a column of a dataset, or any column. A model that unpivots the dataset reads all of them."""
        readers = [name for name, sql in self.models.items() if any(source[1] == dataset for source in _SOURCE.findall(sql))]
        names = re.compile(rf"\b{re.escape(column)}\b") if column else None
        return [name for name in readers if not names or self.unpivots(name) or names.search(self.models[name])]

    def unpivots(self, model: str) -> bool:
        """Whether a model turns the columns of its source into rows."""
        return UNPIVOT in self.models[model]

    def find_marts(self, models: Sequence[str]) -> list[str]:
        """List the marts that depend on any of the models, directly or not, sorted."""
        reached = set(models)
        while more := {name for name, sql in self.models.items() if reached & set(_REF.findall(sql))} - reached:
            reached |= more
        return sorted(name for name in reached if (self.root / "models" / "marts" / f"{name}.sql").exists())


def _merge_config(source: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Return a table's configuration, with that of its source where the table sets nothing."""
    inherited, own = source.get("config", {}), table.get("config", {})
    return {**inherited, **own, "meta": {**inherited.get("meta", {}), **own.get("meta", {})}}
