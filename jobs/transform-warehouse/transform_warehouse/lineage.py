"""Which datasets are behind each mart and under which terms, from dbt's own graph. publish-marts reads it to know what it may publish.

    {"marts": {"fct_yield": {"made_of": ["treasury_par_yields"], "published_by": null}},
     "datasets": {"treasury_par_yields": {"kind": "dataset", "classification": "public", "redistribution": "allowed", ...}}}

Rather too much than too little is behind a mart: whatever its models refer to, and also what their SQL names without ref() or source().
`kind` is dataset, seed (public where its meta says nothing else), every dataset (the tables that have rows of all), or unknown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from dbt.contracts.graph.manifest import Manifest

MARTS = "marts"
AS_OF = ("as_of", "as_of_internal")  # views of models and raw tables, under the same names
TERMS = ("classification", "redistribution", "licence")
SEED = {"classification": "public", "redistribution": "allowed"}
SHOWN = ("public", "internal")
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_DOTTED = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})+")


class Relation(NamedTuple):
    """A schema and a name in it."""

    schema: str
    name: str


def describe(manifest: Manifest, compiled: Mapping[str, str], tables: Collection[Relation]) -> dict[str, Any]:
    """The lineage. `compiled` is the SQL of models by their unique id; `tables` are those in the warehouse, dbt's own among them."""
    graph = _Graph(manifest, compiled, tables)
    marts, datasets = {}, {}
    for node in manifest.nodes.values():
        if str(node.resource_type) != "model" or node.schema != MARTS:
            continue
        behind = dict(map(graph.about, graph.behind(node.unique_id)))
        marts[node.alias] = {"made_of": sorted(behind), "published_by": node.config.meta.get("published_by")}
        datasets.update(behind)
    datasets.update(graph.about(source) for source in manifest.sources)
    return {"marts": dict(sorted(marts.items())), "datasets": dict(sorted(datasets.items()))}


def models(manifest: Manifest) -> set[Relation]:
    """The tables and views that the models make."""
    made = ("table", "incremental", "view")
    nodes = (node for node in manifest.nodes.values() if str(node.resource_type) == "model" and node.config.materialized in made)
    return {Relation(node.schema, node.alias) for node in nodes}


def merge(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Two lineages of one project as one: what either says is behind a mart is."""
    marts = {**older["marts"], **newer["marts"]}
    for name in older["marts"].keys() & newer["marts"].keys():
        made_of = {*older["marts"][name]["made_of"], *newer["marts"][name]["made_of"]}
        marts[name] = {**newer["marts"][name], "made_of": sorted(made_of)}
    return {"marts": marts, "datasets": {**older["datasets"], **newer["datasets"]}}


def select_changed(manifest: Manifest, datasets: Collection[str], tables: Collection[Relation]) -> list[str]:
    """The names of the models and tests to run after new loads of some datasets: those that read them, directly or by way of other models.

    Models that decide which rows are made again always run. Of the views those run that dbt drops with a table that it replaces.
    A table that is no dataset of the lake may have changed.
    """
    raw_code = {unique_id: getattr(node, "raw_code", "") for unique_id, node in manifest.nodes.items()}
    graph = _Graph(manifest, raw_code, tables)

    def is_changed(unique_id: str) -> bool:
        name, about = graph.about(unique_id)
        return about["kind"] != "seed" and (about["kind"] != "dataset" or name in datasets or "." in name)

    changed = {
        unique_id
        for unique_id, node in manifest.nodes.items()
        if node.config.materialized in ("table", "incremental", "test")
        and (node.config.meta.get("adds_no_values") or any(map(is_changed, graph.behind(unique_id))))
    }

    def is_dropped(unique_id: str) -> bool:
        above = [parent for parent in manifest.nodes[unique_id].depends_on_nodes if parent in manifest.nodes]
        kinds = {parent: manifest.nodes[parent].config.materialized for parent in above}
        return any(is_dropped(parent) if kind == "view" else kind == "table" and parent in changed for parent, kind in kinds.items())

    dropped = {unique_id for unique_id, node in manifest.nodes.items() if node.config.materialized == "view" and is_dropped(unique_id)}
    return sorted(manifest.nodes[unique_id].name for unique_id in changed | dropped)


def shows_values(manifest: Manifest, unique_id: str) -> bool:
    """Whether rows of a node may be in messages: all that is behind it is public or internal."""
    graph = _Graph(manifest, {}, ())
    return all(about.get("classification") in SHOWN for _, about in map(graph.about, graph.behind(unique_id)))


class _Graph:
    """dbt's nodes, and what each stands on."""

    def __init__(self, manifest: Manifest, compiled: Mapping[str, str], tables: Collection[Relation]) -> None:
        self.nodes: dict[str, Any] = {**manifest.nodes, **manifest.sources}
        self.compiled = compiled
        self.tables = set(tables)
        self.by_relation = {_relation(node): unique_id for unique_id, node in self.nodes.items() if _relation(node)}
        self.by_name = {relation.name: unique_id for relation, unique_id in self.by_relation.items() if relation}

    def behind(self, unique_id: str) -> set[str]:
        """The sources, seeds and unknown tables that a node stands on."""
        found, seen, waiting = set(), {unique_id}, [unique_id]
        while waiting:
            for above in set(self._read_by(waiting.pop())) - seen:
                seen.add(above)
                node = self.nodes.get(above)
                if node is None or str(node.resource_type) in ("source", "seed"):
                    found.add(above)
                elif not node.config.meta.get("adds_no_values"):
                    waiting.append(above)
        return found

    def about(self, unique_id: str) -> tuple[str, dict[str, Any]]:
        """A source's or seed's name and terms."""
        node = self.nodes.get(unique_id)
        if node is None:
            return unique_id, {"kind": "unknown"}
        meta = node.config.meta
        terms = {name: meta[name] for name in TERMS if name in meta}
        if str(node.resource_type) == "seed":
            return node.name, {"kind": "seed", **SEED, **terms}
        if meta.get("rows_of"):
            return f"{node.schema}.{node.identifier}", {"kind": "every dataset"}
        name = node.identifier if node.schema == "raw" else f"{node.schema}.{node.identifier}"
        return name, {"kind": "dataset", "source": node.source_description, **terms}

    def _read_by(self, unique_id: str) -> Iterator[str]:
        yield from getattr(self.nodes[unique_id], "depends_on_nodes", ())
        for relation in _named(self.compiled.get(unique_id, "")):
            known = self.by_name.get(relation.name) if relation.schema in AS_OF else self.by_relation.get(relation)
            if known and known != unique_id:
                yield known
            elif not known and relation in self.tables:
                yield f"{relation.schema}.{relation.name}"


def _relation(node: Any) -> Relation | None:  # noqa: ANN401  nodes of many kinds
    if str(node.resource_type) not in ("model", "seed", "source", "snapshot"):
        return None
    return Relation(node.schema, node.identifier)


def _named(code: str) -> Iterable[Relation]:
    """What may be a table, of all that SQL names with a dot: columns are told apart by whether there is such a table."""
    for found in _DOTTED.findall(code):
        parts = [part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in re.findall(_NAME, found)]
        yield from map(Relation, parts, parts[1:])
