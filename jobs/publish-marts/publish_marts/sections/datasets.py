"""The sections of a dataset's own page, and the lineage of datasets and marts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from publish_marts import links
from publish_marts.html_tables import EMPTY, Table, build_headers, format_count, format_date
from publish_marts.sections.quality import build_coverage, build_quarantine, format_verdict
from publish_marts.sections.section import Section, iterate_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from publish_marts.frames import Frames


MAX_FIELDS = 6  # of a column
_ARROW = " \N{RIGHTWARDS ARROW} "


def build_dataset(frames: Frames, dataset: str, lineage: Mapping[str, Any], marts: Collection[str]) -> list[Section]:
    """Build the page of a dataset: freshness, terms, quarantine, newest loads, coverage, and the tables made from it."""
    coverage = frames.coverage[frames.coverage["dataset"] == dataset]
    all_sections = [
        _facts_section(frames, dataset, lineage.get("datasets", {}).get(dataset, {})),
        build_quarantine(frames, dataset),
        _tables_section(dataset, lineage, marts),
        _fields_section(dataset, lineage, marts),
        _loads_section(frames, dataset),
        build_coverage(coverage),
    ]
    return [section for section in all_sections if section]


def _facts_section(frames: Frames, dataset: str, terms: Mapping[str, Any]) -> Section:
    (row,) = iterate_rows(frames.freshness[frames.freshness["dataset"] == dataset])
    facts = {
        "Status": format_verdict(row),
        "Last date": format_date(row.last_day),
        "Newest data received, UTC": row.last_known,
        "Partitions": format_count(row.partitions),
        "Rows": format_count(row.rows),
        "Source": terms.get("source") or EMPTY,
        "Licence": terms.get("licence") or EMPTY,
        "Classification": terms.get("classification") or EMPTY,
        "Redistribution": str(terms.get("redistribution") or EMPTY).replace("-", " "),
    }
    table = Table("Facts", build_headers("Fact", "Value", prose=("Value",)), [list(fact) for fact in facts.items()])
    return Section("facts", "Facts", "", tables=(table,))


def _tables_section(dataset: str, lineage: Mapping[str, Any], marts: Collection[str]) -> Section | None:
    parents = lineage.get("parents", {})
    paths = {mart: path for mart in sorted(marts) if (path := find_path(parents, mart, dataset))}
    rows = [[links.link_page("marts", mart), _ARROW.join([*reversed(path), mart])] for mart, path in paths.items()]
    headers = build_headers("Table", "Shortest way", prose=("Shortest way",))
    return Section("tables", "Tables made from it", "", tables=(Table("Tables made from it", headers, rows),)) if rows else None


def find_path(parents: Mapping[str, list[str]], mart: str, dataset: str) -> list[str] | None:
    """Find the shortest way from a mart up to a dataset, without the mart; None if there is none."""
    waiting, seen = [[mart]], {mart}
    while waiting:
        way = waiting.pop(0)
        for parent in parents.get(way[-1], ()):
            if parent == dataset:
                return [*way[1:], parent]
            if parent not in seen:
                seen.add(parent)
                waiting.append([*way, parent])
    return None


def build_lineage(mart: str, lineage: Mapping[str, Any], datasets: Collection[str]) -> Section | None:
    """List what a mart is made from, step by step up to the datasets of the vendors."""
    parents = lineage.get("parents", {})
    rows, waiting, seen = [], [mart], {mart}
    while waiting:
        name = waiting.pop(0)
        if name in parents:
            rows.append([name, Markup(", ").join(_link_input(parent, datasets) for parent in parents[name])])
            new = [parent for parent in parents[name] if parent not in seen]
            seen.update(new)
            waiting += new
    if not rows:
        return None
    table = Table("Lineage", build_headers("Table or view", "Made from", prose=("Made from",)), rows)
    return Section("lineage", "Lineage", "From this table up to the datasets of the vendors.", tables=(table,))


def _fields_section(dataset: str, lineage: Mapping[str, Any], marts: Collection[str]) -> Section | None:
    """List the columns of marts that each field of a dataset goes into, a mart on each line."""
    uses: dict[str, dict[str, list[str]]] = {}
    for mart in sorted(lineage.get("fields", {}).keys() & set(marts)):
        for column, fields in lineage["fields"][mart].items():
            for field in (field for field in fields if field.startswith(f"{dataset}.")):
                uses.setdefault(field.removeprefix(f"{dataset}."), {}).setdefault(mart, []).append(column)
    rows = [["every field" if field == "*" else field, _format_uses(uses[field])] for field in sorted(uses)]
    table = Table("Fields", build_headers("Field", "Columns computed from it", prose=("Columns computed from it",)), rows)
    return Section("fields", "Fields", "", tables=(table,)) if rows else None


def _format_uses(columns: Mapping[str, list[str]]) -> Markup:
    lines = [Markup("{}: {}").format(links.link_page("marts", mart), ", ".join(sorted(columns[mart]))) for mart in columns]
    return Markup("<br>").join(lines)


def format_fields(fields: Sequence[str], datasets: Collection[str]) -> Markup:
    """List the fields that a column is computed from, each linked to its dataset."""
    shown = [_format_field(field, datasets) for field in fields[:MAX_FIELDS]]
    more = [Markup("and {} more").format(len(fields) - MAX_FIELDS)] if len(fields) > MAX_FIELDS else []
    return Markup(", ").join([*shown, *more] or [EMPTY])


def _format_field(field: str, datasets: Collection[str]) -> Markup:
    dataset = field.split(".", maxsplit=1)[0]
    return links.link_page("datasets", dataset, field) if dataset in datasets else Markup("{}").format(field)


def _link_input(name: str, datasets: Collection[str]) -> Markup:
    return links.link_page("datasets", name) if name in datasets else Markup("{}").format(name)


def _loads_section(frames: Frames, dataset: str) -> Section | None:
    loads = frames.loads[frames.loads["dataset"] == dataset]
    if loads.empty:
        return None
    headers = build_headers("Partition", "Commit", "Received, UTC", "Rows", numbers=("Commit", "Rows"))
    rows = [[row.lake_partition, str(row.lake_commit), row.known_at, format_count(row.rows)] for row in iterate_rows(loads)]
    return Section("loads", "Newest loads", "", tables=(Table("Newest loads", headers, rows),))
