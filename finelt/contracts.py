"""Data contracts as a whole: whether each is sound and says what dbt says, and what a change of one breaks downstream.

Downstream is read off the dbt project as it lies there: which staging model names a column, which marts stand on that model.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import jsonschema
import yaml
from jobkit import column_types, odcs
from jobkit import contract as contracts
from jobkit.contract import Layout
from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER
from jobkit.version import version_option

from jobs.catalogue import JOBS, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.contract import Contract, Field

DBT = JOBS.parent / "dbt"
LOADERS = {ROW_NUMBER: "integer", "_load_id": "bigint", "known_from": "timestamptz", "known_to": "timestamptz"}
LOGICAL = {
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
    **dict.fromkeys(("int", "long"), "integer"),
}
_SOURCE = re.compile(r"source\('(\w+)', '(\w+)'\)")
_REF = re.compile(r"ref\('(\w+)'\)")

READ = ("format", "source", "trim", "case", "percent", "constant", "counted_within")  # how a column of a dropped file is read
Weight = Literal["breaks", "watch", "fine"]


@dataclass(frozen=True)
class Change:
    """One difference of two versions. `breaks`: readers or the load fail or err; `watch`: other rows pass than before; `fine`: neither."""

    weight: Weight
    column: str | None
    text: str


def _config(source: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """A table's configuration, with what its source says where the table says nothing."""
    above, own = source.get("config", {}), table.get("config", {})
    return {**above, **own, "meta": {**above.get("meta", {}), **own.get("meta", {})}}


class Project:
    """The dbt project as text: its models, and the source tables its YAML declares."""

    def __init__(self, root: Path = DBT) -> None:
        self.root = root

    @cached_property
    def models(self) -> dict[str, str]:
        """SQL by model."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted((self.root / "models").rglob("*.sql"))}

    @cached_property
    def sources(self) -> dict[str, dict[str, Any]]:
        """Declared source tables by dataset, each with the freshness that holds for it."""
        found = {}
        for path in sorted((self.root / "models").rglob("*.yml")):
            for source in yaml.safe_load(path.read_text(encoding="utf-8")).get("sources", ()):
                for table in source["tables"]:
                    found[table["name"]] = {**table, "config": _config(source, table)}
        return found

    def staged(self, dataset: str, column: str | None) -> list[str]:
        """The models that read a column of a dataset (any, where it is None); one that turns columns into rows reads all."""
        reading = [name for name, sql in self.models.items() if any(found[1] == dataset for found in _SOURCE.findall(sql))]
        names = re.compile(rf"\b{re.escape(column)}\b") if column else None
        return [name for name in reading if not names or "cells(" in self.models[name] or names.search(self.models[name])]

    def marts_on(self, models: Sequence[str]) -> list[str]:
        """The marts that stand on any of the models, sorted."""
        reached = set(models)
        while more := {name for name, sql in self.models.items() if reached & set(_REF.findall(sql))} - reached:
            reached |= more
        return sorted(name for name in reached if (self.root / "models" / "marts" / f"{name}.sql").exists())


def files() -> list[Path]:
    """The contract files, by dataset."""
    return sorted(JOBS.glob("*/*/*.odcs.yaml"), key=lambda path: path.name)


def lint(paths: Sequence[Path], project: Project, written: set[str]) -> list[str]:
    """What is wrong with the contracts, a sentence each; `written` are the datasets that jobs declare to write."""
    problems = []
    for path in paths:
        name = path.name.removesuffix(".odcs.yaml")
        try:
            rules = contracts.load(path)
            dataset = rules.dataset if path.with_name(f"{rules.dataset}.odcs.yaml") in paths else name
            of_dataset = contracts.load(path.with_name(f"{dataset}.odcs.yaml"))
        except BadDataError as error:
            problems.append(str(error))
            continue
        document = odcs.parse(path.read_text(encoding="utf-8"))
        found = [*_of_standard(document), *_of_document(document, name, dataset), *_of_fields(rules, document)]
        found += _of_layout(of_dataset, rules) if dataset != name else [*_of_terms(rules, project), *_of_source(rules, project)]
        problems += [f"{path.name}: {problem}" for problem in found]
        if dataset not in written:
            problems.append(f"{path.name}: no job declares to write raw/{dataset}; add it to writes in the job's pyproject.toml")
    without = written - {path.name.removesuffix(".odcs.yaml") for path in paths}
    return problems + [f"raw/{dataset} is written without a contract; add {dataset}.odcs.yaml beside its extractor" for dataset in without]


def _of_standard(document: dict[str, Any]) -> Iterator[str]:
    """What the standard's own schema has against it."""
    schema = json.loads((resources.files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    as_json = json.loads(json.dumps(document, default=float))
    for error in jsonschema.Draft201909Validator(schema).iter_errors(as_json):
        yield f"not valid by the Open Data Contract Standard: {error.json_path}: {error.message[:200]}"


def _of_terms(rules: Contract, project: Project) -> Iterator[str]:
    """Terms that are missing, or that dbt says otherwise; a confidential dataset behind a mart, which everybody may read."""
    terms: dict[str, str | None] = {"classification": rules.classification, "redistribution": rules.redistribution}
    for name, value in terms.items():
        if value is None:
            yield f"it states no {name}, so that nothing made of it is ever published; add the custom property {name}"
    if table := project.sources.get(rules.dataset):
        said = table["config"].get("meta", {})
        for name, value in {**terms, "licence": rules.licence}.items():
            if said.get(name) != value:
                yield f"the meta of the dbt source says {name} {said.get(name)!r}, the contract {value!r}; make them equal"
    if not rules.shows_values and (marts := project.marts_on(project.staged(rules.dataset, None))):
        yield f"its rows may be in no mart, as it is {rules.classification or 'not classified'}, and {', '.join(marts)} stands on it"


def _of_layout(dataset: Contract, rules: Contract) -> Iterator[str]:
    """Where the contract of one bank's files does not fit the dataset that they fill."""
    for difference in contracts.differences(dataset, rules):
        yield f"it differs from {dataset.dataset}, which its files fill, in {difference}"


def _of_document(document: dict[str, Any], name: str, dataset: str) -> Iterator[str]:
    """What the standard asks for around the schema."""
    if document.get("kind") != "DataContract" or not str(document.get("apiVersion", "")).startswith("v3."):
        yield "kind and apiVersion must be DataContract and v3.x of the Open Data Contract Standard"
    for where, found, expected in (("id", document.get("id"), name), ("schema name", document["schema"][0]["name"], dataset)):
        if found != expected:
            yield f"its {where} is {found!r}, its file says {expected!r}; make them equal"
    if not re.fullmatch(r"\d+\.\d+\.\d+", str(document.get("version"))):
        yield f"version {document.get('version')!r} is not of the form 1.2.3"


def _of_fields(rules: Contract, document: dict[str, Any]) -> Iterator[str]:
    """What is wrong with key, leaf and logical types."""
    names = [field.name for field in rules.fields]
    column = column_types.leaf_column(rules.leaf) or rules.leaf
    if column not in names:
        yield f"the leaf names {column!r}, which is no column"
    if not rules.key:
        yield "it has no primaryKey; say what tells its rows apart"
    for field, item in zip(rules.fields, document["schema"][0]["properties"], strict=True):
        if item.get("logicalType") != LOGICAL.get(field.type, "number"):
            yield f"{field.name}: logicalType {item.get('logicalType')!r} does not go with physicalType {field.type!r}"


def _of_source(rules: Contract, project: Project) -> Iterator[str]:
    """Where the dbt source YAML says something else: columns, their types, and how old the data may be."""
    table = project.sources.get(rules.dataset)
    if table is None:
        yield "dbt declares no source table for it; add one to the YAML of its staging folder"
        return
    columns = {field.name: _sql_type(field.type) for field in rules.fields}
    if any("cells(" in project.models[model] for model in project.staged(rules.dataset, None)):
        columns = {name: columns[name] for name in rules.key}  # the others become rows, whichever there are
    expected = list({**columns, **LOADERS}.items())
    declared = [(column["name"], column["data_type"]) for column in table["columns"]]
    if declared != expected:
        differing = sorted({name for name, _ in set(expected) ^ set(declared)})
        yield f"the dbt source declares other columns or types; look at {', '.join(differing) or 'their order'}"
    age = table["config"].get("freshness", {}).get("warn_after", {})
    if age != {"count": rules.latency_days, "period": "day"}:
        yield f"the dbt source warns after {age.get('count')} {age.get('period')}s, the contract's latency is {rules.latency_days} days"


def _sql_type(kind: str) -> str | None:
    """Return the warehouse's type for a contract's type, as dbt's YAML writes it; None if the type is unknown."""
    return "timestamptz" if kind == column_types.TIMESTAMP else column_types.postgres_type(kind)


def diff(old: Contract, new: Contract) -> list[Change]:
    """What differs from one version to the next, the worst first."""
    before, after = ({field.name: field for field in rules.fields} for rules in (old, new))
    changes = [*_of_dataset(old, new), *_of_files(old, new), *_of_changed_terms(old, new), *_of_rules(old, new)]
    changes += [Change("breaks", name, "is gone; its readers find null or nothing") for name in before if name not in after]
    changes += [_added(after[name]) for name in after if name not in before]
    changes += [change for name in before if name in after for change in _of_column(before[name], after[name])]
    return sorted(changes, key=lambda change: ["breaks", "watch", "fine"].index(change.weight))


def _of_dataset(old: Contract, new: Contract) -> Iterator[Change]:
    for what, was, now in (("dataset", old.dataset, new.dataset), ("key", old.key, new.key), ("leaf", old.leaf, new.leaf)):
        if was != now:
            yield Change("breaks", None, f"{what} {_told(was)} -> {_told(now)}; the raw table has to be dropped and loaded again")
    if old.new_fields != new.new_fields:
        weight: Weight = "breaks" if new.new_fields == "freeze" else "watch"
        yield Change(weight, None, f"new vendor columns: {old.new_fields} -> {new.new_fields}")
    if old.new_field_type != new.new_field_type:
        yield Change("watch", None, f"type of new vendor columns: {old.new_field_type} -> {new.new_field_type}")
    if old.max_bad_rows != new.max_bad_rows:
        yield Change("watch", None, f"bad rows allowed: {old.max_bad_rows:.2%} -> {new.max_bad_rows:.2%}")
    if old.max_missing_rows != new.max_missing_rows:
        yield Change("watch", None, f"rows an answer may leave out: {old.max_missing_rows:.2%} -> {new.max_missing_rows:.2%}")
    if old.latency_days != new.latency_days:
        yield Change("watch", None, f"latency: {old.latency_days} -> {new.latency_days} days")
    for names in {*old.unique} ^ {*new.unique}:
        yield Change("watch", None, f"{', '.join(names)} {'need' if names in new.unique else 'need no longer'} be unique")


def _of_files(old: Contract, new: Contract) -> Iterator[Change]:
    """How dropped files are read and kept."""
    if old.partition != new.partition:
        was, now = (", ".join(rules.partition) or "the file" for rules in (old, new))
        yield Change("watch", None, f"lake partitions by {was} -> by {now}; what was committed before stays beside what comes")
    if old.repeated_key != new.repeated_key:
        yield Change("watch", None, f"a repeated key: {old.repeated_key} -> {new.repeated_key}")
    for field in fields(Layout):
        if (was_written := getattr(old.layout, field.name)) != (now_written := getattr(new.layout, field.name)):
            yield Change("watch", None, f"{field.name.replace('_', ' ')} of files: {_shown(was_written)} -> {_shown(now_written)}")


def _of_changed_terms(old: Contract, new: Contract) -> Iterator[Change]:
    if old.licence != new.licence:
        yield Change("watch", None, f"licence: {old.licence} -> {new.licence}; look whether it may still be published")
    for what, was, now in (
        ("classification", old.classification, new.classification),
        ("redistribution", old.redistribution, new.redistribution),
    ):
        if was != now:
            yield Change("watch", None, f"{what}: {was} -> {now}; other marts are published, and versions published before may have to go")


def _of_rules(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = (
        {rule.text: rule.policy for rule in rules.rules} | {rule.text: rule.policy for rule in rules.products} for rules in (old, new)
    )
    yield from (Change("watch", None, f"rule {text} ({policy}) is new") for text, policy in after.items() if before.get(text) != policy)
    yield from (Change("watch", None, f"rule {text} ({policy}) is gone") for text, policy in before.items() if after.get(text) != policy)


def _added(field: Field) -> Change:
    if field.required:
        return Change("breaks", field.name, "is new and required; what the lake holds without it cannot be replayed")
    return Change("fine", field.name, f"is new, {field.type}")


def _of_column(old: Field, new: Field) -> Iterator[Change]:
    if old.type != new.type:
        yield Change("breaks", new.name, f"type {old.type} -> {new.type}; the raw table has to be dropped and loaded again")
    if old.unit != new.unit:
        yield Change("breaks", new.name, f"unit {old.unit} -> {new.unit}; the same number means something else")
    if old.required and not new.required:
        yield Change("breaks", new.name, "may now be missing; its readers take it for granted")
    if new.required and not old.required:
        yield Change("watch", new.name, "must now be there; rows without it are bad rows")
    if old.evolution != new.evolution:
        yield Change("watch", new.name, f"a column no longer sent: {old.evolution} -> {new.evolution}")
    if (old.minimum, old.maximum) != (new.minimum, new.maximum):
        yield Change("watch", new.name, f"range {_range(old)} -> {_range(new)}")
    limits = ("exclusive_minimum", "exclusive_maximum", "multiple_of", "min_length", "max_length", "pattern", "values", "rounding")
    for name in (*limits, *READ):
        if (was := getattr(old, name)) != (now := getattr(new, name)):
            yield Change("watch", new.name, f"{name.replace('_', ' ')} {_shown(was)} -> {_shown(now)}")
    if old.policy != new.policy:
        yield Change("watch", new.name, f"policy {old.policy} -> {new.policy}")


def _range(field: Field) -> str:
    return f"[{'' if field.minimum is None else field.minimum}, {'' if field.maximum is None else field.maximum}]"


def _shown(value: object) -> str:
    return "none" if value in (None, "", ()) else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _told(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def report(old: Contract, new: Contract, project: Project) -> tuple[list[str], bool]:
    """The changes as lines, each with what stands on it, and whether one breaks something that the version does not admit.

    A version admits a break by its first number (semver.org).
    """
    changes = diff(old, new)
    lines = []
    for change in changes:
        line = f"{change.weight:<6}  {change.column + ': ' if change.column else ''}{change.text}"
        staged = project.staged(old.dataset, change.column) if change.weight != "fine" else []
        if staged:
            line += f"\n        read by {', '.join(staged)}; stands on it: {', '.join(project.marts_on(staged)) or 'no mart'}"
        lines.append(line)
    broken = any(change.weight == "breaks" for change in changes)
    return lines, broken and _major(new) <= _major(old)


def _major(rules: Contract) -> int:
    return int(rules.version.partition(".")[0])


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Look after the data contracts."""


@main.command("lint")
def lint_() -> None:
    """Every contract is sound, has a job that writes it, and says what the dbt sources say. 65 where not."""
    written = {dataset.removeprefix("raw/") for spec in catalogue() for dataset in spec.writes if dataset.startswith("raw/")}
    problems = lint(files(), Project(), written)
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(BadDataError.exit_code)
    click.echo(f"{len(files())} contracts are sound")


@main.command("diff")
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
def diff_(old: Path, new: Path) -> None:
    """What changes from OLD to NEW, two contract files, and what breaks downstream. 65 for a break without a new major version."""
    try:
        lines, unadmitted = report(contracts.load(old), contracts.load(new), Project())
    except BadDataError as error:
        click.echo(f"contracts: {error}", err=True)
        sys.exit(error.exit_code)
    for line in lines or ["nothing changes"]:
        click.echo(line)
    if unadmitted:
        click.echo("contracts: this breaks what stands on it; raise the first number of its version, or undo the change", err=True)
        sys.exit(BadDataError.exit_code)


if __name__ == "__main__":
    main(prog_name="scripts/contracts")
