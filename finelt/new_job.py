"""scripts/new-job: a new extractor as a copy of the smallest one that takes dates, under another name.

Everything else follows from the folder: tests, image, deployment, infrastructure, CI. Left to write is what only the vendor can say:
where it answers, what its bytes mean, and what may be in them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import click

from jobs.catalogue import HOST, JOBS

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE, PACKAGE, DATASET = "extract-treasury-yields", "extract_treasury_yields", "treasury_par_yields"
FILES = ("pyproject.toml", f"{PACKAGE}/*.py", f"{PACKAGE}/{DATASET}.odcs.yaml", "tests/test_treasury_parser.py")
NAME = re.compile(r"extract-([a-z][a-z0-9]*)-([a-z0-9]+(?:-[a-z0-9]+)*)")
TERMS_OF_TEMPLATE = """\
      - {property: classification, value: public}
      - {property: licence, value: "US government work, public domain"}
      - {property: licenceUrl, value: "https://home.treasury.gov/subfooter/site-policies-and-notices"}
      - {property: redistribution, value: allowed}
"""
TENORS = re.compile(r"( +- )\{name: 1 Mo, .*\Z", re.DOTALL)
VALUE = r"""\1{name: Value, logicalType: number, physicalType: "decimal(18,6)"}""" + "\n"


class NewJobError(Exception):
    """A job that cannot be made; the message says why and what to do."""


class Names(NamedTuple):
    """What a new job is called in each place."""

    job: str
    package: str
    dataset: str
    vendor: str
    things: str
    host: str

    @property
    def replaced(self) -> dict[str, str]:
        """What stands in the template, and what in the new job; longer before shorter."""
        vendor, things = self.vendor.capitalize(), self.things.replace("-", " ")
        return {
            TERMS_OF_TEMPLATE: (  # what no vendor has to allow: whoever knows better says so
                "      - {property: classification, value: internal}\n"
                f'      - {{property: licence, value: "ask {vendor}"}}\n'
                "      - {property: redistribution, value: internal-use-only}\n"
            ),
            TEMPLATE: self.job,
            PACKAGE: self.package,
            DATASET: self.dataset,
            "test_treasury_parser": f"test_{self.vendor}_parser",
            "home.treasury.gov": self.host,
            '"/resource-center/data-chart-center/interest-rates/daily-treasury-rates.csv/{year}/all"': f'"/{self.things}/{{year}}.csv"',
            '    wanted = (("type", "daily_treasury_yield_curve"), ("field_tdr_date_value", year), ("page", ""), ("_format", "csv"))\n': "",
            "PATH.format(year=year), wanted)": "PATH.format(year=year))",
            "/policy-issues/financing-the-government/interest-rate-statistics": "",
            "Where the US Treasury publishes its par yield curve: one CSV a year. No key, no stated limit.": (
                f"Where {vendor} publishes its {things}: one CSV a year."
            ),
            "US Treasury par yield curve rates, from indicative bid quotes of about 15:30 New York time.": (
                f"{things.capitalize()} of {vendor}."
            ),
            "Published about 18:00 New York time on trading days.": "When it is published, and what it may be used for.",
            "One row per day in the Treasury's file; each tenor is a par yield in percent. Tenors come and go by year.": "One row per day.",
            "US Treasury par yield curve rates": f"{things.capitalize()} of {vendor}",
            "Which tenors there are changes from year to year; an all-blank row (2010-10-11) is kept as the vendor sends it.": (
                "Columns are kept as the vendor names them."
            ),
            "one per tenor, par yield in percent": "one per field of the vendor's",
            "the Treasury's": f"{vendor}'s",
            "The Treasury's": f"{vendor}'s",
        }


def names(job: str, host: str | None) -> Names:
    """The names of a job. Raises NewJobError for one that is none, or is taken."""
    found = NAME.fullmatch(job)
    if found is None:
        raise NewJobError(f"{job!r} is no name of an extractor; write extract-VENDOR-THINGS in small letters, such as extract-acme-gold")
    vendor, things = found.groups()
    if host is not None and not HOST.fullmatch(host):
        raise NewJobError(f"--host {host!r} is no host name; write one such as api.{vendor}.com, without https:// and without a path")
    if (JOBS / job).exists():
        raise NewJobError(f"there is a folder jobs/{job} already; choose another name, or change that job")
    return Names(job, job.replace("-", "_"), f"{vendor}_{things.replace('-', '_')}", vendor, things, host or f"{vendor}.example")


def make(new: Names) -> list[Path]:
    """The files of the new job, written."""
    template, written = JOBS / TEMPLATE, []
    for source in sorted(path for pattern in FILES for path in template.glob(pattern)):
        target = JOBS / new.job / renamed(source.relative_to(template).as_posix(), new)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed(source.read_text(encoding="utf-8"), new), encoding="utf-8")
        written.append(target)
    return written


def renamed(text: str, new: Names) -> str:
    """A text of the template as the new job has it."""
    for old, other in new.replaced.items():
        text = text.replace(old, other)
    return TENORS.sub(VALUE, text)


def _uv() -> str:
    return shutil.which("uv") or str(JOBS.parent / ".tools" / "bin" / "uv")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--host", help="The host that the vendor answers at, such as api.acme.com; the only one the job may call.")
def main(name: str, host: str | None) -> None:
    """Make the job NAME, such as extract-acme-gold, and install it here."""
    try:
        new = names(name, host)
        written = make(new)
    except NewJobError as error:
        raise click.UsageError(str(error)) from None
    locked = subprocess.run([_uv(), "lock", "--quiet"], cwd=JOBS.parent, check=False).returncode  # noqa: S603
    if locked != 0 or subprocess.run([JOBS.parent / "scripts" / "setup"], check=False).returncode != 0:  # noqa: S603
        shutil.rmtree(JOBS / name)
        raise click.ClickException(
            "the job could not be locked and installed; nothing was left of it. Mend what is told above, and run this again"
        )
    for path in written:
        click.echo(path.relative_to(JOBS.parent))
    click.echo(
        f"""
Now it works as a vendor would that publishes a CSV a year. Make it yours, in this order:
  {new.package}/{new.dataset}.odcs.yaml    the fields, their types and key; licence and who may see it
  {new.package}/source.py    how the vendor is asked
  {new.package}/parser.py    what its bytes mean
  pyproject.toml             hosts, schedule and time zone, secrets
Then: scripts/test jobs/{new.job}, and .venv/bin/{new.job} describe. docs/tutorial.md goes on from here.""",
        err=True,
    )


if __name__ == "__main__":
    main(prog_name="scripts/new-job")
