"""Create a new extractor from the templates in finelt/templates/extract.

Everything else follows from the folder: tests, image, deployment, infrastructure, CI. What remains to write is specific to the
vendor: where its data is, what its bytes mean, and which values are valid.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from string import Template
from typing import NamedTuple

import click
from jobkit.version import version_option

from jobs.catalogue import HOST, JOBS

TEMPLATES = Path(__file__).parent / "templates" / "extract"
SUFFIX = ".tmpl"
NAME = re.compile(r"extract-([a-z][a-z0-9]*)-([a-z0-9]+(?:-[a-z0-9]+)*)")


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
        things = self.things.replace("-", " ")
        return {**self._asdict(), "things": things, "path": self.things, "Vendor": self.vendor.capitalize(), "Things": things.capitalize()}

    def target(self, template: str) -> str:
        """Return where the file of a template goes, relative to the job's folder."""
        folder, _, name = template.removesuffix(SUFFIX).rpartition("/")
        renamed = {"contract.odcs.yaml": f"{self.dataset}.odcs.yaml", "test_parser.py": f"test_{self.vendor}_parser.py"}
        name = renamed.get(name, name)
        return "/".join(filter(None, (self.package if folder == "package" else folder, name)))


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
    if (JOBS / job).exists():
        raise NewJobError(f"the folder jobs/{job} exists; choose another name, or change that job")
    return Names(job, job.replace("-", "_"), f"{vendor}_{things.replace('-', '_')}", vendor, things, host or f"{vendor}.example")


def render_files(new: Names) -> dict[str, str]:
    """Return the files of a new job: text by path in the job's folder. Raises KeyError on a placeholder that no job has."""
    templates = sorted(path for path in TEMPLATES.rglob(f"*{SUFFIX}"))
    return {
        new.target(path.relative_to(TEMPLATES).as_posix()): Template(path.read_text(encoding="utf-8")).substitute(new.placeholders)
        for path in templates
    }


def write_files(new: Names) -> list[Path]:
    """Write the files of a new job and return their paths."""
    written = []
    for name, text in render_files(new).items():
        path = JOBS / new.job / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _find_uv() -> str:
    return shutil.which("uv") or str(JOBS.parent / ".tools" / "bin" / "uv")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@version_option()
@click.argument("name")
@click.option("--host", help="The vendor's host, such as api.acme.com; the only one that the job may call.")
def main(name: str, host: str | None) -> None:
    """Create the job NAME, such as extract-acme-gold, and install it here."""
    try:
        new = build_names(name, host)
        written = write_files(new)
    except NewJobError as error:
        raise click.UsageError(str(error)) from None
    locked = subprocess.run([_find_uv(), "lock", "--quiet"], cwd=JOBS.parent, check=False).returncode  # noqa: S603
    if locked != 0 or subprocess.run([JOBS.parent / "scripts" / "setup"], check=False).returncode != 0:  # noqa: S603
        shutil.rmtree(JOBS / name)
        raise click.ClickException(
            "the job could not be locked and installed, and its folder was removed; fix the error above and run this again"
        )
    for path in written:
        click.echo(path.relative_to(JOBS.parent))
    click.echo(
        f"""
The job expects a vendor that publishes one CSV per year. Change it, in this order:
  {new.package}/{new.dataset}.odcs.yaml    the fields, their types and key; licence and who may see it
  {new.package}/source.py    the requests to the vendor
  {new.package}/parser.py    what its bytes mean
  pyproject.toml             hosts, schedule and time zone, secrets
Then: scripts/test jobs/{new.job}, and .venv/bin/{new.job} describe. docs/tutorial.md goes on from here.""",
        err=True,
    )
