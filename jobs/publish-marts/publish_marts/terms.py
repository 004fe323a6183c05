"""What may be published to whom: a mart where the terms of every dataset behind it allow it, and nothing where terms are missing.

    audience    a dataset behind a mart must be                redistribution must be
    internal    classified public or internal                  stated
    public      classified public                              allowed

Confidential datasets are published to nobody. A mart that declares `published_by: dataset` has rows of many datasets, named in its column
`dataset`; its rows of those datasets are published that may be. The lineage is what transform-warehouse noted of the marts that it built
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
KNOWN_CLASSIFICATIONS, KNOWN_REDISTRIBUTIONS = ("public", "internal", "confidential"), ("allowed", "internal-use-only")
BY_DATASET, DATASET_COLUMN = "dataset", "dataset"


@dataclass(frozen=True)
class Permission:
    """What may be published: the marts, those of them by dataset with the datasets whose rows may be, and why the others are left out."""

    marts: tuple[str, ...]
    by_dataset: frozenset[str]
    datasets: tuple[str, ...]
    left_out: Mapping[str, str]
    refused_datasets: Mapping[str, str]


def decide(lineage: Mapping[str, Any], marts: Mapping[str, Collection[str]], audience: Audience) -> Permission:
    """What of these marts may be published. `marts` gives the columns of each; one that the lineage does not know is left out."""
    about: Mapping[str, Any] = lineage.get("datasets", {})
    reasons = {name: refusal(terms, audience) for name, terms in about.items() if terms.get("kind") == "dataset"}
    allowed = tuple(sorted(name for name, reason in reasons.items() if reason is None))
    left_out = {name: reason for name, columns in marts.items() if (reason := _refusal_of_mart(lineage, name, columns, allowed, audience))}
    published = tuple(name for name in marts if name not in left_out)
    by_dataset = frozenset(name for name in published if lineage["marts"][name].get("published_by") == BY_DATASET)
    return Permission(published, by_dataset, allowed, left_out, {name: reason for name, reason in reasons.items() if reason is not None})


def refusal(terms: Mapping[str, Any], audience: Audience) -> str | None:
    """Why a dataset's rows may not be published to an audience; None where they may."""
    classification, redistribution = terms.get("classification"), terms.get("redistribution")
    if terms.get("kind") not in ("dataset", "seed"):
        return "has rows of every dataset" if terms.get("kind") == "every dataset" else "is no dataset that states terms"
    if classification not in KNOWN_CLASSIFICATIONS:
        return "states no classification" if classification is None else f"states the unknown classification {classification!r}"
    if redistribution not in KNOWN_REDISTRIBUTIONS:
        return "states no redistribution" if redistribution is None else f"states the unknown redistribution {redistribution!r}"
    if classification not in CLASSIFICATIONS[audience]:
        return f"is {classification}"
    if redistribution not in REDISTRIBUTIONS[audience]:
        return "is for internal use only by its licence"
    return None


def _refusal_of_mart(
    lineage: Mapping[str, Any], name: str, columns: Collection[str], allowed: Collection[str], audience: Audience
) -> str | None:
    """Why a mart may not be published at all."""
    declared = lineage.get("marts", {}).get(name)
    if declared is None or not isinstance(declared.get("made_of"), list):
        return "nothing says what it is made of; run transform-warehouse"
    about, published_by = lineage.get("datasets", {}), declared.get("published_by")
    if published_by not in (None, BY_DATASET):
        return f"its published_by is {published_by!r}; expected {BY_DATASET!r} or nothing"
    behind = [(dataset, about.get(dataset, {})) for dataset in declared["made_of"]]
    if published_by == BY_DATASET:
        if DATASET_COLUMN not in columns:
            return f"it is published by dataset, and has no column {DATASET_COLUMN}"
        if not allowed:
            return "no dataset that it has rows of may be published"
        behind = [(dataset, terms) for dataset, terms in behind if terms.get("kind") not in ("dataset", "every dataset")]
    reasons = [f"{dataset} {reason}" for dataset, terms in behind if (reason := refusal(terms, audience))]
    return ", ".join(reasons) or None
