"""The command `scripts/site` (`python -m publish_marts.site`), which manages a published site. It needs more permissions than the job."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from jobkit.errors import JobError, UsageError
from jobkit.stores import open_store
from jobkit.version import version_option

from publish_marts import publication, withdrawal
from publish_marts.terms import AUDIENCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from publish_marts.terms import Audience

SITE = click.option("--site", required=True, envvar="FINELT_SITE", metavar="URL", help="The site: a directory or s3://bucket/prefix.")


@contextmanager
def _exit_on_error() -> Iterator[None]:
    """Print a JobError's message and exit with its code."""
    try:
        yield
    except JobError as error:
        click.echo(f"site: {error}", err=True)
        sys.exit(error.exit_code)


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Manage a published site."""


@main.command("ls")
@SITE
def ls_(site: str) -> None:
    """List the audience and each version with its date and marts. A star marks the current version."""
    with _exit_on_error():
        store = open_store(site)
        pointer, _ = publication.read_pointer(store)
        click.echo(f"audience {publication.read_audience(store) or 'not declared'}")
        for version in withdrawal.list_versions(store):
            star = "*" if pointer and pointer.version == version.name else " "
            marts = ", ".join(version.document["marts"]) if version.document else "incomplete"
            published_at = version.published_at.isoformat(timespec="seconds") if version.published_at else "no date"
            click.echo(f"{star} {version.name}  {published_at}  {marts}")


@main.command("withdraw")
@SITE
@click.option("--mart", "marts", multiple=True, help="Withdraw only this mart; repeat the option for more. Default: whole versions.")
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Withdraw only versions published before this date (UTC).")
@click.option("--version", "versions", multiple=True, help="Withdraw only this version, as `ls` names it; repeat the option for more.")
@click.option("--all", "all_versions", is_flag=True, help="Withdraw all versions, including the current one.")
def withdraw_(site: str, marts: Sequence[str], before: datetime | None, versions: Sequence[str], *, all_versions: bool) -> None:
    """Delete published versions, or marts of them, permanently. If it is interrupted, run it again."""
    with _exit_on_error():
        if [all_versions, before is not None, bool(versions)].count(True) != 1:
            raise UsageError("choose the versions to withdraw: either --before DATE, --version NAME or --all")
        result = withdrawal.withdraw(open_store(site), marts, before.date() if before else None, versions)
    for what, names in (("removed", result.removed), ("changed", result.changed), ("kept", result.kept)):
        for version in names:
            click.echo(f"{what:8}{version}")
    if not (result.removed or result.changed):
        click.echo("nothing to withdraw")
    click.echo("A cache in front of the site keeps its copies until they expire. Invalidate it (docs/publication.md).", err=True)


@main.command("declare")
@SITE
@click.option("--audience", type=click.Choice(AUDIENCES), required=True, help="Who may see the site from now on.")
def declare_(site: str, audience: Audience) -> None:
    """Set the audience of a site that has no versions."""
    with _exit_on_error():
        publication.redeclare_audience(open_store(site), audience)
    click.echo(f"the audience of {site} is {audience}")


if __name__ == "__main__":
    main(prog_name="scripts/site")
