"""The rules for what may be published. A mart is published only if every dataset behind it allows it; one without terms does not.

    audience    a dataset behind a mart must be                redistribution must be
    internal    classified public or internal                  stated
    public      classified public                              allowed

Confidential datasets are never published. A mart that declares `published_by: dataset` has rows of many datasets, named in its column
`dataset`; only rows of permitted datasets are published. transform-warehouse records the lineage of the marts that it builds
(transform_warehouse/lineage.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Audience = Literal["internal", "public"]
AUDIENCES: tuple[Audience, ...] = get_args(Audience)
CLASSIFICATIONS: dict[Audience, tuple[str, ...]] = {"internal": ("public", "internal"), "public": ("public",)}
REDISTRIBUTIONS: dict[Audience, tuple[str, ...]] = {"internal": ("allowed", "internal-use-only"), "public": ("allowed",)}
ALL_CLASSIFICATIONS, ALL_REDISTRIBUTIONS = ("public", "internal", "confidential"), ("allowed", "internal-use-only")
BY_DATASET, DATASET_COLUMN = "dataset", "dataset"


@dataclass(frozen=True)
class Permission:
    """What may be published: the marts, which of them only in part (`by_dataset`), the permitted datasets, and why the others are not."""

    marts: tuple[str, ...]
    by_dataset: frozenset[str]
    datasets: tuple[str, ...]
    left_out: Mapping[str, str]
    refused_datasets: Mapping[str, str]


def decide_permission(lineage: Mapping[str, Any], marts: Mapping[str, Collection[str]], audience: Audience) -> Permission:
    """Decide which of these marts may be published. `marts` maps each mart to its columns. A mart without lineage may not be."""
    datasets: Mapping[str, Any] = lineage.get("datasets", {})
    reasons = {name: find_refusal(terms, audience) for name, terms in datasets.items() if terms.get("kind") == "dataset"}
    allowed = tuple(sorted(name for name, reason in reasons.items() if reason is None))
    left_out = {
        name: reason for name, columns in marts.items() if (reason := _find_mart_refusal(lineage, name, columns, allowed, audience))
    }
    published = tuple(name for name in marts if name not in left_out)
    by_dataset = frozenset(name for name in published if lineage["marts"][name].get("published_by") == BY_DATASET)
    return Permission(published, by_dataset, allowed, left_out, {name: reason for name, reason in reasons.items() if reason is not None})


def find_refusal(terms: Mapping[str, Any], audience: Audience) -> str | None:
    """Return the reason why an audience may not see a dataset's rows; None if it may."""
    classification, redistribution = terms.get("classification"), terms.get("redistribution")
    if terms.get("kind") not in ("dataset", "seed"):
        return "has rows of every dataset" if terms.get("kind") == "every dataset" else "is not a dataset that states terms"
    if classification not in ALL_CLASSIFICATIONS:
        return "states no classification" if classification is None else f"states the unknown classification {classification!r}"
    if redistribution not in ALL_REDISTRIBUTIONS:
        return "states no redistribution" if redistribution is None else f"states the unknown redistribution {redistribution!r}"
    if classification not in CLASSIFICATIONS[audience]:
        return f"is {classification}"
    if redistribution not in REDISTRIBUTIONS[audience]:
        return "is licensed for internal use only"
    return None


def _find_mart_refusal(
    lineage: Mapping[str, Any], name: str, columns: Collection[str], allowed: Collection[str], audience: Audience
) -> str | None:
    """Return the reason why no row of a mart may be published; None if at least some may."""
    lineage_entry = lineage.get("marts", {}).get(name)
    if lineage_entry is None or not isinstance(lineage_entry.get("made_of"), list):
        return "its lineage is not recorded; run transform-warehouse"
    datasets, published_by = lineage.get("datasets", {}), lineage_entry.get("published_by")
    if published_by not in (None, BY_DATASET):
        return f"its published_by is {published_by!r}; expected {BY_DATASET!r} or nothing"
    inputs = [(dataset, datasets.get(dataset, {})) for dataset in lineage_entry["made_of"]]
    if published_by == BY_DATASET:
        if DATASET_COLUMN not in columns:
            return f"it is published by dataset but has no column {DATASET_COLUMN}"
        if not allowed:
            return "none of its datasets may be published"
        inputs = [(dataset, terms) for dataset, terms in inputs if terms.get("kind") not in ("dataset", "every dataset")]
    reasons = [f"{dataset} {reason}" for dataset, terms in inputs if (reason := find_refusal(terms, audience))]
    return ", ".join(reasons) or None
