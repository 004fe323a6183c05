"""Look after a published site: `python -m publish_marts.site`, in a checkout scripts/site. It needs more rights than the job has."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from jobkit.errors import JobError, UsageError
from jobkit.store import open_store

from publish_marts import publication, withdrawal
from publish_marts.terms import AUDIENCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from publish_marts.terms import Audience

SITE = click.option("--site", required=True, envvar="FINELT_SITE", metavar="URL", help="The site: a directory or s3://bucket/prefix.")


@contextmanager
def _reported() -> Iterator[None]:
    """A job's error as its sentence and exit code."""
    try:
        yield
    except JobError as error:
        click.echo(f"site: {error}", err=True)
        sys.exit(error.exit_code)


@click.group(context_settings={"max_content_width": 110})
def main() -> None:
    """Look after a published site."""


@main.command("ls")
@SITE
def ls_(site: str) -> None:
    """The audience, and each version with its date and marts; the current one has a star."""
    with _reported():
        store = open_store(site)
        pointer, _ = publication.current(store)
        click.echo(f"audience {publication.audience(store) or 'not declared'}")
        for version in withdrawal.versions(store):
            star = "*" if pointer and pointer.version == version.name else " "
            marts = ", ".join(version.document["marts"]) if version.document else "incomplete"
            dated = version.published_at.isoformat(timespec="seconds") if version.published_at else "without a date"
            click.echo(f"{star} {version.name}  {dated}  {marts}")


@main.command("withdraw")
@SITE
@click.option("--mart", "marts", multiple=True, help="Withdraw this mart only; repeat the option for more. Without, whole versions.")
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Of versions published before this day, UTC.")
@click.option("--all", "everything", is_flag=True, help="Of all versions, the current one included.")
def withdraw_(site: str, marts: Sequence[str], before: datetime | None, *, everything: bool) -> None:
    """Take published versions back, for good. Run again, it does what is left to do."""
    with _reported():
        if everything == (before is not None):
            raise UsageError("write either --before DATE or --all: which versions are withdrawn")
        done = withdrawal.withdraw(open_store(site), marts, before.date() if before else None)
    for what, names in (("removed", done.removed), ("changed", done.changed), ("kept", done.kept)):
        for name in names:
            click.echo(f"{what:8}{name}")
    if not (done.removed or done.changed):
        click.echo("nothing to withdraw")
    click.echo("Copies in a cache in front of the site stay until they expire: empty it (docs/publication.md).", err=True)


@main.command("declare")
@SITE
@click.option("--audience", type=click.Choice(AUDIENCES), required=True, help="Whom the site is for from now on.")
def declare_(site: str, audience: Audience) -> None:
    """Say whom a site without versions is for."""
    with _reported():
        publication.redeclare(open_store(site), audience)
    click.echo(f"{site} is for the audience {audience}")


if __name__ == "__main__":
    main(prog_name="scripts/site")
