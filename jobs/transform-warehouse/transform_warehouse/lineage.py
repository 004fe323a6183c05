"""Lineage: the datasets behind each mart and their terms, from dbt's graph. publish-marts reads it to decide what it may publish.

    {"marts": {"fct_yield": {"made_of": ["treasury_par_yields"], "published_by": null}},
     "parents": {"fct_yield": ["stg_treasury__yields"], "stg_treasury__yields": ["treasury_par_yields"]},
     "fields": {"fct_yield": {"yield_pct": ["treasury_par_yields.10 Yr", ...], ...}},
     "datasets": {"treasury_par_yields": {"kind": "dataset", "classification": "public", "redistribution": "allowed", ...}}}

When in doubt, a dataset counts as behind a mart: everything its models refer to, and everything their SQL names without ref() or
source(). `kind` is dataset, seed (public unless its meta says otherwise), every dataset (tables with rows of all), or unknown.
`parents` are the models, seeds and datasets that a model refers to; `field_lineage` describes `fields`; `latency_days` is the age from
which a dataset is late.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from dbt.contracts.graph.manifest import Manifest

MARTS = "marts"
AS_OF_SCHEMAS = ("as_of", "as_of_internal")  # views of models and raw tables, under the same names
TERMS = ("classification", "redistribution", "licence")
SEED_TERMS = {"classification": "public", "redistribution": "allowed"}
SHOWABLE = ("public", "internal")
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_DOTTED_NAME = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})+")


class Relation(NamedTuple):
    """A table or view: its schema and name."""

    schema: str
    name: str


def describe_lineage(manifest: Manifest, compiled: Mapping[str, str], relations: Collection[Relation]) -> dict[str, Any]:
    """Return the lineage as in the module's docstring.

    `compiled` is the SQL of models by their unique id; `relations` are all tables and views of the warehouse, dbt's included.
    """
    graph = _Graph(manifest, compiled, relations)
    marts, datasets = {}, {}
    for node in manifest.nodes.values():
        if str(node.resource_type) != "model" or node.schema != MARTS:
            continue
        origins = dict(map(graph.describe_origin, graph.find_origins(node.unique_id)))
        marts[node.alias] = {"made_of": sorted(origins), "published_by": node.config.meta.get("published_by")}
        datasets.update(origins)
    datasets.update(graph.describe_origin(source) for source in manifest.sources)
    return {"marts": dict(sorted(marts.items())), "parents": graph.describe_parents(), "datasets": dict(sorted(datasets.items()))}


def find_models(manifest: Manifest) -> set[Relation]:
    """Return the tables and views that the models make."""
    materialized = ("table", "incremental", "view")
    nodes = (node for node in manifest.nodes.values() if str(node.resource_type) == "model" and node.config.materialized in materialized)
    return {Relation(node.schema, node.alias) for node in nodes}


def merge_lineages(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Merge two lineages of one project: a dataset is behind a mart if either says so."""
    marts = {**older["marts"], **newer["marts"]}
    for name in older["marts"].keys() & newer["marts"].keys():
        made_of = {*older["marts"][name]["made_of"], *newer["marts"][name]["made_of"]}
        marts[name] = {**newer["marts"][name], "made_of": sorted(made_of)}
    parents = {**older.get("parents", {}), **newer.get("parents", {})}
    fields = {**older.get("fields", {}), **newer.get("fields", {})}
    return {"marts": marts, "parents": parents, "fields": fields, "datasets": {**older["datasets"], **newer["datasets"]}}


def select_changed(manifest: Manifest, datasets: Collection[str], relations: Collection[Relation]) -> list[str]:
    """Return the names of the models and tests to run after new loads of these datasets: those that read them, also through other models.

    Models that decide which rows are rebuilt always run. A view runs only if dbt drops it with a table that it replaces.
    A table outside the lake's datasets counts as changed.
    """
    raw_code = {unique_id: getattr(node, "raw_code", "") for unique_id, node in manifest.nodes.items()}
    graph = _Graph(manifest, raw_code, relations)

    def is_changed(unique_id: str) -> bool:
        name, origin = graph.describe_origin(unique_id)
        return origin["kind"] != "seed" and (origin["kind"] != "dataset" or name in datasets or "." in name)

    changed = {
        unique_id
        for unique_id, node in manifest.nodes.items()
        if node.config.materialized in ("table", "incremental", "test")
        and (node.config.meta.get("adds_no_values") or any(map(is_changed, graph.find_origins(unique_id))))
    }

    def is_dropped(unique_id: str) -> bool:
        parents = [parent for parent in manifest.nodes[unique_id].depends_on_nodes if parent in manifest.nodes]
        kinds = {parent: manifest.nodes[parent].config.materialized for parent in parents}
        return any(is_dropped(parent) if kind == "view" else kind == "table" and parent in changed for parent, kind in kinds.items())

    dropped = {unique_id for unique_id, node in manifest.nodes.items() if node.config.materialized == "view" and is_dropped(unique_id)}
    return sorted(manifest.nodes[unique_id].name for unique_id in changed | dropped)


def find_test_subjects(manifest: Manifest, tests: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Return, for each test, the marts that it reads and the datasets behind it."""
    graph = _Graph(manifest, {}, ())
    subjects = {}
    for unique_id in tests:
        parents = [manifest.nodes[parent] for parent in manifest.nodes[unique_id].depends_on_nodes if parent in manifest.nodes]
        subjects[unique_id] = {
            "marts": sorted(node.alias for node in parents if node.schema == MARTS),
            "datasets": sorted(name for name, _ in map(graph.describe_origin, graph.find_origins(unique_id))),
        }
    return subjects


def may_show_values(manifest: Manifest, unique_id: str) -> bool:
    """Whether messages may contain rows of a node: everything behind it is public or internal."""
    graph = _Graph(manifest, {}, ())
    return all(terms.get("classification") in SHOWABLE for _, terms in map(graph.describe_origin, graph.find_origins(unique_id)))


class _Graph:
    """dbt's nodes and what each of them reads."""

    def __init__(self, manifest: Manifest, compiled: Mapping[str, str], relations: Collection[Relation]) -> None:
        self.nodes: dict[str, Any] = {**manifest.nodes, **manifest.sources}
        self.compiled = compiled
        self.relations = set(relations)
        self.by_relation = {_relation_of(node): unique_id for unique_id, node in self.nodes.items() if _relation_of(node)}
        self.by_name = {relation.name: unique_id for relation, unique_id in self.by_relation.items() if relation}
        self.list_upstream = cache(lambda unique_id: tuple(self._iter_upstream(unique_id)))  # every mart asks for the same nodes

    def find_origins(self, unique_id: str) -> set[str]:
        """Return the sources, seeds and unknown tables that a node is made of, directly or through other models."""
        origins, seen, waiting = set(), {unique_id}, [unique_id]
        while waiting:
            for upstream in set(self.list_upstream(waiting.pop())) - seen:
                seen.add(upstream)
                node = self.nodes.get(upstream)
                if node is None or str(node.resource_type) in ("source", "seed"):
                    origins.add(upstream)
                elif not node.config.meta.get("adds_no_values"):
                    waiting.append(upstream)
        return origins

    def describe_origin(self, unique_id: str) -> tuple[str, dict[str, Any]]:
        """Return the name of a source or seed, and its kind and terms."""
        node = self.nodes.get(unique_id)
        if node is None:
            return unique_id, {"kind": "unknown"}
        meta = node.config.meta
        terms = {name: meta[name] for name in TERMS if name in meta}
        if str(node.resource_type) == "seed":
            return node.name, {"kind": "seed", **SEED_TERMS, **terms}
        if meta.get("rows_of"):
            return f"{node.schema}.{node.identifier}", {"kind": "every dataset"}
        name = node.identifier if node.schema == "raw" else f"{node.schema}.{node.identifier}"
        return name, {"kind": "dataset", "source": node.source_description, **terms, **_describe_latency(node)}

    def describe_parents(self) -> dict[str, list[str]]:
        """Return the models, seeds and datasets that each model refers to, without those that only select the rows to rebuild."""
        models = {unique_id: node for unique_id, node in self.nodes.items() if str(node.resource_type) == "model"}
        selectors = {unique_id for unique_id, node in models.items() if node.config.meta.get("adds_no_values")}
        return {
            node.alias: sorted(self._name(parent) for parent in node.depends_on_nodes if parent not in selectors)
            for _, node in sorted(models.items())
        }

    def _name(self, unique_id: str) -> str:
        is_model = unique_id.startswith("model.") and unique_id in self.nodes
        return str(self.nodes[unique_id].alias) if is_model else self.describe_origin(unique_id)[0]

    def _iter_upstream(self, unique_id: str) -> Iterator[str]:
        """Yield what a node reads: the nodes it refers to, and the tables that its SQL names."""
        yield from getattr(self.nodes[unique_id], "depends_on_nodes", ())
        for relation in _find_relations(self.compiled.get(unique_id, "")):
            node_id = self.by_name.get(relation.name) if relation.schema in AS_OF_SCHEMAS else self.by_relation.get(relation)
            if node_id and node_id != unique_id:
                yield node_id
            elif not node_id and relation in self.relations:
                yield f"{relation.schema}.{relation.name}"


def _describe_latency(node: Any) -> dict[str, int]:  # noqa: ANN401  a source
    """Return the age in days from which a source is late, as its freshness states it; empty if it states none."""
    warn_after = getattr(getattr(node, "freshness", None), "warn_after", None)
    return {"latency_days": warn_after.count} if warn_after and warn_after.count and str(warn_after.period) == "day" else {}


def _relation_of(node: Any) -> Relation | None:  # noqa: ANN401  nodes of many kinds
    """Return a node's table or view; None for a node that has none, such as a test."""
    if str(node.resource_type) not in ("model", "seed", "source", "snapshot"):
        return None
    return Relation(node.schema, node.identifier)


def _find_relations(code: str) -> Iterable[Relation]:
    """Yield every dotted name of SQL as a possible relation. Columns look the same; only existing tables count later."""
    for dotted in _DOTTED_NAME.findall(code):
        parts = [part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in re.findall(_NAME, dotted)]
        yield from map(Relation, parts, parts[1:])
