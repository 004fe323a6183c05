"""What of a warehouse's marts goes into a publication, by the terms of the datasets behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError

from publish_marts import export, terms
from publish_marts.publication import About
from publish_marts.warehouse import compose, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from publish_marts.export import Mart
    from publish_marts.terms import Audience, Permission
    from publish_marts.warehouse import Transform, Warehouse

ROWS_OF = ", rows of "
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Selection:
    """The marts to publish, the datasets whose rows may be in them, and what the publication says of terms and of what is left out."""

    marts: Sequence[Mart]
    datasets: Sequence[str]
    about: About

    @property
    def left_out_marts(self) -> dict[str, str]:
        """The marts that are left out as a whole, and why."""
        return marts_left_out(self.about.left_out)


def marts_left_out(left_out: Mapping[str, str]) -> dict[str, str]:
    """Of what is left out, the marts as a whole."""
    return {what: why for what, why in left_out.items() if ROWS_OF not in what}


def select(snapshot: Warehouse, transform: Transform, wanted: Sequence[str], audience: Audience) -> Selection:
    """What to publish of the marts wanted, or of all. Raises MisconfiguredError where the audience may see none of them."""
    found = export.marts(snapshot, wanted)
    permission = terms.decide(transform.lineage, {mart.name: [column.name for column in mart.columns] for mart in found}, audience)
    if not permission.marts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(permission.left_out.items())[:REASONS_SHOWN])
        raise MisconfiguredError(
            f"nothing may be published for the audience {audience} ({reasons}); state the terms of each dataset in its contract and in its "
            "dbt source and run transform-warehouse, or publish for another audience"
        )
    marts = [
        replace(mart, datasets=permission.datasets) if mart.name in permission.by_dataset else mart
        for mart in found
        if mart.name in permission.marts
    ]
    about = About(audience, _left_out(snapshot, marts, permission), _sources(transform.lineage, marts, permission))
    return Selection(marts, permission.datasets, about)


def _left_out(snapshot: Warehouse, marts: Sequence[Mart], permission: Permission) -> dict[str, str]:
    """Whole marts, and rows of marts that are published by dataset; each with the reason."""
    found = dict(permission.left_out)
    for mart in (mart for mart in marts if mart.datasets is not None):
        template = "select distinct dataset::text as dataset from marts.{mart} where ({where}) is not true order by 1"
        others = compose(template, mart=quoted(mart.name), where=mart.where)
        for dataset in snapshot.columns(others)["dataset"]:
            reason = permission.refused_datasets.get(dataset, "has no source in dbt that states its terms")
            found[f"{mart.name}{ROWS_OF}{dataset}"] = f"{dataset} {reason}"
    return found


def _sources(lineage: Mapping[str, Any], marts: Sequence[Mart], permission: Permission) -> list[dict[str, str]]:
    """The datasets behind what is published, each with its source, licence and redistribution."""
    names = {name for mart in marts if mart.datasets is None for name in lineage["marts"][mart.name]["made_of"]}
    names |= {name for mart in marts if mart.datasets is not None for name in permission.datasets}
    about = {name: lineage["datasets"][name] for name in sorted(names)}
    return [
        {"dataset": name, **{key: str(stated.get(key, "")) for key in ("source", "licence", "redistribution")}}
        for name, stated in about.items()
        if stated["kind"] == "dataset"
    ]
