"""Generate docs/jobs: an index and one page per job, from the job's `describe`, its contracts and the catalogue.

The pages are committed, so that a clone has them. A test fails if they are not current; `scripts/docs` writes them again.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jobkit import contracts, refusals
from jobkit.errors import JobError, next_step
from jobkit.version import version_option

from jobs.catalogue import ICEBERG, LAKE, REPOSITORY, CatalogueError, catalogue
from orchestration.deployments import descriptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.contracts import Contract

    from jobs.catalogue import JobSpec

PAGES = REPOSITORY / "docs" / "jobs"
SOURCE = re.compile(r"^Source: (\S+)", re.MULTILINE)
POSTGRES = {
    ("reads", "warehouse/raw"): "SELECT on the tables of schema `raw`",
    ("reads", "warehouse/marts"): "SELECT on the tables of schema `marts`",
    ("writes", "warehouse/raw"): "CREATE on the database; it then owns the schema `raw`",
    ("writes", "warehouse/marts"): "CREATE on the database; it then owns the schemas that dbt creates",
}


def render_page(spec: JobSpec, described: Mapping[str, Any]) -> str:
    """Return the page of one job, in Markdown."""
    datasets = [dataset.removeprefix(LAKE) for dataset in spec.writes if dataset.startswith(LAKE)]
    due = f"`{spec.schedule}` in {spec.timezone}" if spec.schedule else "none: it runs after the jobs whose data it reads"
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
                ("resources", f"{spec.cpu / 1024:g} vCPU, {spec.memory} MiB, of which /tmp may take {spec.tmp_mib}"),
                *_largest(described["resources"]),
                ("concurrency", f"at most {spec.concurrency} runs of all jobs that call {spec.vendor}" if spec.concurrency else "no limit"),
            ],
        ),
        *(_dataset(spec, dataset) for dataset in datasets),
        "## Options\n",
        _options(described["options"]),
        "## Exit codes\n",
        _table(
            ("code", "meaning", "next step"),
            [(code, meaning, next_step(int(code))) for code, meaning in described["exit_codes"].items()],
        ),
        *_answers(spec, described["answers"]),
        "## Run it again\n",
        "Run it with the same arguments at any time. What is already done is reported as `unchanged`; a partial result is never visible.",
        f"`{spec.name} plan` shows what a run would do. `{spec.name} check` tests whether it can run.\n",
        "## Permissions\n",
        "The job needs these permissions and no others. The roles that infra/ creates grant exactly these.\n",
        "\n".join(f"- {line}" for line in list_permissions(spec)),
    ]
    return "\n".join(parts) + "\n"


def render_index(specs: Sequence[JobSpec]) -> str:
    """Return the index of the pages, in Markdown."""
    rows = [(f"[{spec.name}]({spec.name}.md)", spec.description, _words(spec.reads), _words(spec.writes)) for spec in specs]
    head = (
        "# Jobs\n\nOne page per job, written by `./scripts/docs`. Do not edit them: change the job, its contract or `finelt/job_docs.py`.\n"
    )
    return f"{head}\n{_table(('job', 'what it does', 'reads', 'writes'), rows)}"


def write_pages(to: Path) -> list[Path]:
    """Write the index and the page of each job to a folder, remove other pages there, and return the paths written."""
    specs = catalogue()
    described = descriptions.describe_jobs(descriptions.installed_commands(specs))
    texts = {"README": render_index(specs), **{spec.name: render_page(spec, described[spec.name]) for spec in specs}}
    to.mkdir(parents=True, exist_ok=True)
    for path in to.glob("*.md"):
        if path.stem not in texts:
            path.unlink()
    paths = {to / f"{name}.md": text for name, text in texts.items()}
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)


def list_permissions(spec: JobSpec) -> list[str]:
    """Return the least permissions that the job needs, one line each."""
    lines = [f"https to {host}" for host in spec.hosts]
    for verb, names, actions in (("reads", spec.reads, "`s3:GetObject`"), ("writes", spec.writes, "`s3:GetObject`, `s3:PutObject`")):
        below = [name.removesuffix("*").rstrip("/") for name in names if name.startswith(LAKE)]
        lines += [f"{actions} on `<lake>/{name}/*`, `s3:ListBucket` with that prefix" for name in below]
        lines += [grant for (side, name), grant in POSTGRES.items() if side == verb and name in names]
    if ICEBERG in spec.writes:
        lines.append(
            "`s3:GetObject`, `s3:PutObject`, `s3:DeleteObject` on `<lake>/iceberg/*`, `s3:ListBucket` with that prefix; its tables in Glue"
        )
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
    """Return classification and licence, with what follows for publishing."""
    licence = f"[{rules.licence}]({rules.licence_url})" if rules.licence_url else rules.licence
    stated = [
        f"Classification: {rules.classification or 'none stated'}.",
        f"Licence: {licence}.",
        f"Redistribution: {(rules.redistribution or 'none stated').replace('-', ' ')}.",
    ]
    return f"{' '.join(stated)} Marts made from it are {_audiences(rules)} ([publication](../publication.md))."


def _audiences(rules: Contract) -> str:
    """Return the audiences to which marts that read a dataset are published. publish_marts/terms.py has the rule."""
    if rules.classification is None or rules.redistribution is None or rules.classification == "confidential":
        return "not published"
    is_open = rules.classification == "public" and rules.redistribution == "allowed"
    return "published to every audience" if is_open else "published to the internal audience only"


def _options(schema: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`--{name.replace('_', '-')}`" + (" (required)" if name in schema["required"] else ""),
            f"`FINELT_{name.upper()}`",
            option["description"] + (f" Default: `{option['default']}`." if "default" in option else ""),
        )
        for name, option in schema["properties"].items()
    ]
    return _table(("option", "environment variable", "description"), rows)


def _largest(resources: Mapping[str, int]) -> list[tuple[str, str]]:
    size = resources.get("max_body_bytes")
    return [("largest response or file", f"{size:,} bytes unpacked; a larger one is refused (65)")] if size else []


def _answers(spec: JobSpec, table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the section on responses that are not data: those of this vendor first, then those of every vendor."""
    if not spec.hosts:
        return []
    own = [
        (str(one["status"]), f"`{one['says']}`" if one["says"] else "anything", _meaning(one), f"{one['source']}, as of {one['seen']}")
        for one in table
    ]
    general = [(status, "", f"{meaning} ({code})", "RFC 9110; this client") for status, meaning, code in refusals.GENERAL]
    head = "## Vendor responses\n\nThe first row that matches applies: the status matches, and so does the text if the row has one.\n"
    return [head, _table(("status", "text (a pattern, ignoring case)", "meaning", "source"), [*own, *general])]


def _meaning(one: Mapping[str, Any]) -> str:
    wait = f", no sooner than {one['wait_s'] / 60:g} minutes later" if one["wait_s"] else ""
    return f"{one['means']} ({refusals.EXIT_CODE_OF[one['means']]}){wait}"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


@click.command()
@version_option()
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=PAGES, help="The folder to write to. Default: docs/jobs.")
def main(to: Path) -> None:
    """Write an index and a page for each job, remove the pages of other jobs, and print the paths."""
    try:
        paths = write_pages(to)
    except (JobError, CatalogueError) as error:
        raise click.ClickException(str(error)) from None
    for path in paths:
        click.echo(path)
