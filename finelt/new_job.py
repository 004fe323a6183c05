"""Create an extract job from the templates in finelt/templates, with its contract, tests, and staging model in dbt.

Everything else follows from the folder: image, deployment, infrastructure, CI. What remains to write is specific to the vendor: where its
data is, what its bytes mean, and which values are valid. Files that people drop need no job of their own: the template `drop` adds a
contract to extract-dropped-files.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import click
from jobkit import contracts
from jobkit.errors import BadDataError
from jobkit.version import version_option

from finelt import staging_model
from images.uv import find_uv
from jobs.catalogue import HOST, JOBS, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".tmpl"
NAME = re.compile(r"extract-([a-z][a-z0-9]*)-([a-z0-9]+(?:-[a-z0-9]+)*)")
DROP = "drop"
DROPPED_FILES = JOBS / "extract-dropped-files"
CONTRACT = "contract.odcs.yaml"


class Kind(NamedTuple):
    """A template: what the vendor offers, and what such a job needs in its pyproject.toml."""

    offers: str
    dependencies: tuple[str, ...] = ("jobkit[extract]",)
    secrets: tuple[str, ...] = ()


KINDS = {
    "csv": Kind("one CSV file per year"),
    "rest": Kind("a REST API with JSON, perhaps in pages", secrets=("token",)),
    "table": Kind("a table of a Postgres database", ("jobkit[extract]", "psycopg[binary]>=3.3.9"), ("database_password",)),
    DROP: Kind("files that somebody drops into a folder or bucket"),
}


class NewJobError(Exception):
    """A job cannot be created; the message says why and what to do."""


class Names(NamedTuple):
    """The names of a new job in each place."""

    job: str
    package: str
    dataset: str
    vendor: str
    things: str
    host: str

    @property
    def placeholders(self) -> dict[str, str]:
        """The values of the placeholders in the templates."""
        things, vendor = self.things.replace("-", " "), self.vendor.capitalize()
        more = {"VENDOR": self.vendor.upper(), "Vendor": vendor, "things": things, "Things": things.capitalize()}
        return {**self._asdict(), **more, "path": self.things, "table": self.things.replace("-", "_")}


def build_names(job: str, host: str | None) -> Names:
    """Return the names of a job. Raises NewJobError for an invalid name, or one that exists."""
    found = NAME.fullmatch(job)
    if found is None:
        raise NewJobError(
            f"{job!r} is not the name of an extractor; expected extract-VENDOR-THINGS in lower case, such as extract-acme-gold"
        )
    vendor, things = found.groups()
    if host is not None and not HOST.fullmatch(host):
        raise NewJobError(f"--host {host!r} is not a host name; expected one such as api.{vendor}.com, without https:// and without a path")
    dataset = f"{vendor}_{things.replace('-', '_')}"
    if (JOBS / job).exists() or list(JOBS.glob(f"*/*/{dataset}.odcs.yaml")):
        raise NewJobError(f"the job {job}, or a contract of raw/{dataset}, exists; choose another name, or change that one")
    return Names(job, job.replace("-", "_"), dataset, vendor, things, host or f"{vendor}.example")


def render_files(new: Names, kind: str, contract: str | None = None) -> dict[Path, str]:
    """Return the files of a new job: text by path. `contract` replaces that of the template. Raises NewJobError if it is another's."""
    requirements = {"dependencies": _quote(KINDS[kind].dependencies), "secrets": ""}
    if KINDS[kind].secrets:
        requirements["secrets"] = f"secrets = [{_quote(KINDS[kind].secrets)}]\n"
    placeholders = {**new.placeholders, **requirements}
    text = contract or _render(TEMPLATES / f"{CONTRACT}{SUFFIX}", placeholders)
    rules = contracts.read_contract(text)
    if rules.dataset != new.dataset:
        raise NewJobError(
            f"the contract is of {rules.dataset!r}, the job writes {new.dataset!r}; correct its id and the name of its schema"
        )
    folder, package = (DROPPED_FILES, "extract_dropped_files") if kind == DROP else (JOBS / new.job, new.package)
    files = {folder / package / f"{new.dataset}.odcs.yaml": text}
    for part in (kind,) if kind == DROP else ("common", kind):
        for path in sorted((TEMPLATES / part).rglob(f"*{SUFFIX}")):
            name = path.relative_to(TEMPLATES / part).as_posix().removesuffix(SUFFIX)
            name = re.sub("^package/", f"{package}/", name).replace("tests/test_", f"tests/test_{new.dataset}_")
            files[folder / name] = _render(path, placeholders)
    return files | staging_model.render(rules, new.vendor)


def _render(template: Path, placeholders: dict[str, str]) -> str:
    """Return a template's text. Raises KeyError on a placeholder that no job has."""
    return Template(template.read_text(encoding="utf-8")).substitute(placeholders)


def _quote(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def declare_dataset(pyproject: str, dataset: str) -> str:
    """Return a pyproject.toml in which the job also writes a dataset."""
    return re.sub(r"^(writes = \[.*?)(,?\s*\])", rf'\1, "raw/{dataset}"\2', pyproject, count=1, flags=re.MULTILINE | re.DOTALL)


def _install(kind: str) -> bool:
    """Install the new job; return whether this succeeded. It did not if a person or `timeout` ended it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for command in _list_commands(kind):
            subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    except (KeyboardInterrupt, subprocess.CalledProcessError):
        return False
    return True


def _list_commands(kind: str) -> list[list[str]]:
    """Return the commands that install a new job."""
    setup = [str(REPOSITORY / "scripts" / "setup")]
    return [setup] if kind == DROP else [[find_uv(), "lock", "--quiet"], setup]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@version_option()
@click.argument("name")
@click.option("--host", help="The vendor's host, such as api.acme.com; the only one that the job may call.")
@click.option(
    "--template",
    "kind",
    type=click.Choice(list(KINDS)),
    default="csv",
    show_default=True,
    help=f"What the vendor offers: {'; '.join(f'{name}: {kind.offers}' for name, kind in KINDS.items())}.",
)
@click.option(
    "--contract", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The data contract, such as `finelt try` proposes it."
)
def main(name: str, host: str | None, kind: str, contract: Path | None) -> None:
    """Create the job NAME, such as extract-acme-gold, and install it here."""
    try:
        if contract:
            contracts.load(contract)
        new = build_names(name, host)
        files = render_files(new, kind, contract.read_text(encoding="utf-8") if contract else None)
    except (NewJobError, BadDataError) as error:
        raise click.UsageError(str(error)) from None
    pyproject = DROPPED_FILES / "pyproject.toml"
    declared = pyproject.read_text(encoding="utf-8")
    if kind == DROP:
        files[pyproject] = declare_dataset(declared, new.dataset)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if not _install(kind):
        for path in files:
            path.unlink()
        pyproject.write_text(declared, encoding="utf-8")
        shutil.rmtree(JOBS / name, ignore_errors=True)
        raise click.ClickException(
            "the job was not installed, and its files were removed; fix the error above, if there is one, and run this again"
        )
    for path in files:
        click.echo(path.relative_to(REPOSITORY))
    click.echo(f"\nThis expects {KINDS[kind].offers}. Change it, in this order:\n{_describe_steps(new, kind)}", err=True)


def _describe_steps(new: Names, kind: str) -> str:
    """Return what a person has to change, in columns."""
    steps = [(f"{new.dataset}.odcs.yaml", "the fields, their types and key; licence and who may see it")]
    if kind == "rest":
        steps += [("source.py", "the table of its requests, pages and login")]
    elif kind != DROP:
        steps += [("source.py", "the requests to the vendor"), ("parser.py", "what its bytes mean")]
    if kind != DROP:
        steps += [("pyproject.toml", "hosts, schedule and time zone, secrets")]
    steps += [(f"dbt/models/staging/{new.vendor}/", "the columns as the contract has them, then a mart")]
    width = max(len(name) for name, _ in steps)
    job = "extract-dropped-files" if kind == DROP else new.job
    checks = f"scripts/docs, scripts/contracts lint and scripts/test jobs/{job}"
    return "\n".join(f"  {name:{width}}  {text}" for name, text in steps) + f"\nThen: {checks}. docs/tutorial.md goes on from here."
