"""scripts/docs: a page per job in docs/jobs, from what the job says of itself, its contracts and the catalogue.

The pages are not in the repository: they are derived, and whoever reads one wants it of the version that they have.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit import answers
from jobkit import contract as contracts
from jobkit.errors import JobError

from jobs.catalogue import REPOSITORY, CatalogueError, catalogue
from orchestration.deployments import register

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.contract import Contract

    from jobs.catalogue import JobSpec

PAGES = REPOSITORY / "docs" / "jobs"
SOURCE = re.compile(r"^Source: (\S+)", re.MULTILINE)
MENDS = {
    "0": "nothing to do",
    "2": "correct the arguments; the sentence in the receipt names the one",
    "65": "look at the quarantine or the vendor's file; mend the contract or the parser, then run with `--replay` where the job has it",
    "70": "mend the job: the log on stderr has the traceback",
    "75": "run it again later; schedulers may do so by themselves",
    "77": "renew the secret, then run `check`",
    "78": "correct the setting that the sentence names, then run `check`",
    "143": "run it again when you like",
}
POSTGRES = {
    ("reads", "warehouse/raw"): "SELECT on the tables of schema `raw`",
    ("reads", "warehouse/marts"): "SELECT on the tables of schema `marts`",
    ("writes", "warehouse/raw"): "CREATE on the database; it then owns the schema `raw`",
    ("writes", "warehouse/marts"): "CREATE on the database; it then owns the schemas that dbt makes",
}


def page(spec: JobSpec, described: Mapping[str, Any]) -> str:
    """The page of one job, in Markdown."""
    datasets = [dataset.removeprefix("raw/") for dataset in spec.writes if dataset.startswith("raw/")]
    due = f"`{spec.schedule}` in {spec.timezone}" if spec.schedule else "none of its own: it follows the jobs whose data it reads"
    parts = [
        f"# {spec.name}\n\n{spec.description}\n",
        "## At a glance\n",
        _table(
            ("", ""),
            [
                ("source", _source(spec)),
                ("reads", _words(spec.reads)),
                ("writes", _words(spec.writes)),
                ("schedule", due),
                ("size", f"{spec.cpu / 1024:g} vCPU, {spec.memory} MiB"),
                *_largest(described["resources"]),
                ("runs at once", f"{spec.concurrency} of all jobs that ask {spec.vendor}" if spec.concurrency else "any number"),
            ],
        ),
        *(_dataset(spec, dataset) for dataset in datasets),
        "## Options\n",
        _options(described["options"]),
        "## How it fails\n",
        _table(("code", "means", "what to do"), [(code, told, MENDS[code]) for code, told in described["exit_codes"].items()]),
        *_answers(spec, described["answers"]),
        "## How to run it again\n",
        "With the same arguments, at any time: what is done already is told as `unchanged`, and nothing half done is ever visible.",
        f"`{spec.name} plan` says beforehand what a run would do, `{spec.name} check` whether it could.\n",
        "## What it may do\n",
        "No more than this, in the roles that infra/ makes and wherever else it runs:\n",
        "\n".join(f"- {line}" for line in privileges(spec)),
    ]
    return "\n".join(parts) + "\n"


def privileges(spec: JobSpec) -> list[str]:
    """The least that the job needs, a line each."""
    lines = [f"https to {host}" for host in spec.hosts]
    for verb, names, actions in (("reads", spec.reads, "`s3:GetObject`"), ("writes", spec.writes, "`s3:GetObject`, `s3:PutObject`")):
        below = [name.removesuffix("*").rstrip("/") for name in names if name.startswith("raw/")]
        lines += [f"{actions} on `<lake>/{name}/*`, `s3:ListBucket` with that prefix" for name in below]
        lines += [told for (side, name), told in POSTGRES.items() if side == verb and name in names]
    if "site" in spec.writes:
        lines.append("`s3:GetObject`, `s3:PutObject` on `<site>/*`, `s3:ListBucket` with that prefix")
    return [*lines, *(f"to read the secret behind `--{name.replace('_', '-')}`, and no other" for name in spec.secrets)]


def _source(spec: JobSpec) -> str:
    code = spec.folder / spec.package / "source.py"
    found = SOURCE.search(code.read_text(encoding="utf-8")) if code.exists() else None
    return ", ".join([*(spec.hosts or ("no vendor",)), *([f"described at {found[1]}"] if found else [])])


def _dataset(spec: JobSpec, dataset: str) -> str:
    with resources.as_file(resources.files(spec.package) / f"{dataset}.odcs.yaml") as path:
        rules = contracts.load(Path(path))
    rows = [(field.name, field.type, "yes" if field.required else "", "key" if field.name in rules.key else "") for field in rules.fields]
    head = f"## Dataset raw/{dataset}\n\n{rules.description}\n\n{_terms(rules)}\n"
    return f"{head}\n{_table(('field', 'type', 'required', ''), rows)}"


def _terms(rules: Contract) -> str:
    """Classification and licence, with what follows for publishing."""
    licence = f"[{rules.licence}]({rules.licence_url})" if rules.licence_url else rules.licence
    stated = [
        f"Classification: {rules.classification or 'none stated'}.",
        f"Licence: {licence}.",
        f"Redistribution: {(rules.redistribution or 'none stated').replace('-', ' ')}.",
    ]
    return f"{' '.join(stated)} Marts made of it are published {_audiences(rules)} ([publication](../publication.md))."


def _audiences(rules: Contract) -> str:
    """To whom what is made of a dataset is published; publish-marts has the rule (publish_marts/terms.py)."""
    if rules.classification is None or rules.redistribution is None or rules.classification == "confidential":
        return "to nobody"
    is_open = rules.classification == "public" and rules.redistribution == "allowed"
    return "to every audience" if is_open else "to the internal audience only"


def _options(schema: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`--{name.replace('_', '-')}`" + (" (required)" if name in schema["required"] else ""),
            f"`FINELT_{name.upper()}`",
            option["description"] + (f" Default: `{option['default']}`." if "default" in option else ""),
        )
        for name, option in schema["properties"].items()
    ]
    return _table(("option", "variable", "says"), rows)


def _largest(resources: Mapping[str, int]) -> list[tuple[str, str]]:
    size = resources.get("max_body_bytes")
    return [("takes", f"answers and files of up to {size:,} bytes once unpacked; one byte more is refused (65)")] if size else []


def _answers(spec: JobSpec, table: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the vendor answers besides data, and what that means: its own words first, then what holds for every vendor."""
    if not spec.hosts:
        return []
    own = [
        (str(one["status"]), f"`{one['says']}`" if one["says"] else "anything", _meaning(one), f"{one['source']}, as of {one['seen']}")
        for one in table
    ]
    general = [(status, "", f"{told} ({code})", "RFC 9110; this client") for status, told, code in answers.GENERAL]
    head = "## What the vendor's answers mean\n\nThe first line counts that an answer's status fits, and its words where there are any.\n"
    return [head, _table(("status", "text (a pattern, case ignored)", "means", "source"), [*own, *general])]


def _meaning(one: Mapping[str, Any]) -> str:
    wait = f", no sooner than {one['wait_s'] / 60:g} minutes later" if one["wait_s"] else ""
    return f"{one['means']} ({answers.EXIT_CODE_OF[one['means']]}){wait}"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing of ours"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


@click.command()
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=PAGES, help="The folder to write to. Default: docs/jobs.")
def main(to: Path) -> None:
    """Write a page for each job, and print its path."""
    try:
        specs = catalogue()
        described = register.described(register.installed(specs))
    except (JobError, CatalogueError) as error:
        raise click.ClickException(str(error)) from None
    to.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        path = to / f"{spec.name}.md"
        path.write_text(page(spec, described[spec.name]), encoding="utf-8")
        click.echo(path)


if __name__ == "__main__":
    main(prog_name="scripts/docs")
