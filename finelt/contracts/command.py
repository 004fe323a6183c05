"""The command line of the contract tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from jobkit import contracts
from jobkit.errors import BadDataError
from jobkit.version import version_option

from finelt.contracts.changes import describe_changes
from finelt.contracts.dbt_project import DbtProject
from finelt.contracts.lint import contract_files, find_problems
from jobs.catalogue import LAKE, catalogue


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Check the data contracts."""


@main.command()
def lint() -> None:
    """Check that every contract is valid, has a job that writes it, and agrees with its dbt source. Exit code 65 if one does not."""
    written = {dataset.removeprefix(LAKE) for spec in catalogue() for dataset in spec.writes if dataset.startswith(LAKE)}
    paths = contract_files()
    problems = find_problems(paths, DbtProject(), written)
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(BadDataError.exit_code)
    click.echo(f"{len(paths)} contracts are valid")


@main.command()
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
def diff(old: Path, new: Path) -> None:
    """List what changes from OLD to NEW, two contract files, and what it breaks. Exit code 65 for a break without a new major version."""
    try:
        lines, hides_break = describe_changes(contracts.load(old), contracts.load(new), DbtProject())
    except BadDataError as error:
        click.echo(f"contracts: {error}", err=True)
        sys.exit(error.exit_code)
    for line in lines or ["no changes"]:
        click.echo(line)
    if hides_break:
        click.echo("contracts: the change breaks what depends on the dataset; raise the major version, or undo the change", err=True)
        sys.exit(BadDataError.exit_code)
