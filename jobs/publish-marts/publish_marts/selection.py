"""The selection of marts, and of rows of marts, that the terms of their datasets allow to publish."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError

from publish_marts import export, terms
from publish_marts.publication import PublicationTerms
from publish_marts.warehouse import compose, quote_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from publish_marts.export import Mart
    from publish_marts.terms import Audience, Permission
    from publish_marts.warehouse import Transform, Warehouse

ROWS_OF = ", rows of "
MAX_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Selection:
    """The marts to publish, the datasets whose rows may be in them, and the terms to state."""

    marts: Sequence[Mart]
    datasets: Sequence[str]
    terms: PublicationTerms

    @property
    def left_out_marts(self) -> dict[str, str]:
        """The marts of which nothing may be published, with the reason."""
        return select_whole_marts(self.terms.left_out)


def select_whole_marts(left_out: Mapping[str, str]) -> dict[str, str]:
    """Select the marts of which nothing may be published. The other entries are rows of marts that are published."""
    return {name: reason for name, reason in left_out.items() if ROWS_OF not in name}


def select_marts(snapshot: Warehouse, transform: Transform, requested: Sequence[str], audience: Audience) -> Selection:
    """Select what to publish of the requested marts, or of all marts if none is requested. Marts are sorted by name.

    Raises MisconfiguredError if a requested mart does not exist, or if the audience may see none of them.
    """
    candidates = export.list_marts(snapshot, requested)
    permission = terms.decide_permission(
        transform.lineage, {mart.name: [column.name for column in mart.columns] for mart in candidates}, audience
    )
    if not permission.marts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(permission.left_out.items())[:MAX_REASONS_SHOWN])
        raise MisconfiguredError(
            f"nothing may be published for the audience {audience} ({reasons}); state the terms of each dataset in its contract and in its "
            "dbt source and run transform-warehouse, or publish for another audience"
        )
    marts = [
        replace(mart, datasets=permission.datasets) if mart.name in permission.by_dataset else mart
        for mart in candidates
        if mart.name in permission.marts
    ]
    left_out = _list_left_out(snapshot, marts, permission)
    sources = _list_sources(transform.lineage, marts, permission)
    stated = {source["dataset"] for source in sources}
    made_of = {
        mart.name: sorted(stated & set(transform.lineage["marts"][mart.name]["made_of"] if mart.datasets is None else mart.datasets))
        for mart in marts
    }
    return Selection(marts, permission.datasets, PublicationTerms(audience, left_out, sources, made_of))


def _list_left_out(snapshot: Warehouse, marts: Sequence[Mart], permission: Permission) -> dict[str, str]:
    """List the marts, and the datasets of rows in other marts, that may not be published, each with the reason."""
    candidates = dict(permission.left_out)
    for mart in (mart for mart in marts if mart.datasets is not None):
        template = "select distinct dataset::text as dataset from marts.{mart} where ({where}) is not true order by 1"
        query = compose(template, mart=quote_name(mart.name), where=mart.where)
        for dataset in snapshot.fetch_columns(query)["dataset"]:
            reason = permission.refused_datasets.get(dataset, "has no source in dbt that states its terms")
            candidates[f"{mart.name}{ROWS_OF}{dataset}"] = f"{dataset} {reason}"
    return candidates


def _list_sources(lineage: Mapping[str, Any], marts: Sequence[Mart], permission: Permission) -> list[dict[str, str]]:
    """List the datasets behind the published rows, each with its source, licence and redistribution."""
    names = {name for mart in marts if mart.datasets is None for name in lineage["marts"][mart.name]["made_of"]}
    names |= {name for mart in marts if mart.datasets is not None for name in permission.datasets}
    about = {name: lineage["datasets"][name] for name in sorted(names)}
    return [
        {"dataset": name, **{key: str(stated.get(key, "")) for key in ("source", "licence", "redistribution")}}
        for name, stated in about.items()
        if stated["kind"] == "dataset"
    ]
