"""Load the raw table of a dataset again after its contract got other types, another key or another leaf; preview it without --apply.

The contract itself changes no table: the next commit of the dataset's extractor has the new types, key and leaf, and load-warehouse then
asks for this command. It converts what older commits have, exactly or not at all, and readers see the old table until the new one is whole.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import click
from jobkit import contracts
from jobkit.errors import ExitCode
from jobkit.names import ROW_NUMBER
from jobkit.version import version_option

from finelt import rebuild
from finelt.contracts.lint import contract_files
from finelt.job_errors import exit_on_job_error
from finelt.job_process import run_job
from finelt.job_roles import LOADER, PASSWORD_OPTION, WAREHOUSE_OPTION
from finelt.lake_location import open_lake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.contracts import Contract
    from jobkit.lake import Commit, Lake


@click.command(help=__doc__)
@version_option()
@click.argument("dataset")
@click.option("--lake", metavar="URL", envvar="FINELT_LAKE", required=True, help="The lake: a directory or s3://bucket/prefix.")
@WAREHOUSE_OPTION
@PASSWORD_OPTION
@click.option("--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="The number of partitions to load in parallel.")
@click.option("--forget-expired", is_flag=True, help="Lose the row versions whose commits have expired in the lake.")
@click.option("--apply", "is_applied", is_flag=True, help="Reload the table. Without it, every commit is checked and nothing is changed.")
def main(dataset: str, lake: str, warehouse: str | None, password: str, workers: int, *, forget_expired: bool, is_applied: bool) -> None:
    """Print what differs, check every commit, and reload."""
    if warehouse is None:
        raise click.UsageError("name the warehouse with --warehouse")
    options = ["--lake", lake, "--dataset", dataset, "--warehouse", warehouse, "--warehouse-password", password, "--reload"]
    with exit_on_job_error("reload"):
        place = open_lake(lake)
        for line in describe_contract(place, dataset):
            click.echo(line)
    plan = run_job(LOADER, options, "plan")["details"]["plan"]
    if not plan:
        click.echo(f"raw.{dataset} has the types, the key and the leaf of the newest commit; nothing to reload")
        return
    problems = _print_plan(plan[0], is_forgotten=forget_expired)
    if problems:
        click.echo(f"reload: {problems:,} problems keep raw.{dataset} from being reloaded; nothing was changed", err=True)
        sys.exit(ExitCode.BAD_DATA)
    if not is_applied:
        click.echo("nothing was changed; --apply reloads the table")
        return
    forget = ["--forget-expired"] if forget_expired else []
    rebuild.report(LOADER, run_job(LOADER, [*options, *forget, "--workers", str(workers)]))
    click.echo(f"raw.{dataset} is reloaded; marts and views show the former table until transform-warehouse has run")


def _print_plan(step: Mapping[str, Any], *, is_forgotten: bool) -> int:
    """Print the plan of a reload; return the number of problems."""
    click.echo(f"raw.{step['dataset']} differs from {step['newest']}, the newest:")
    for difference in step["differences"]:
        click.echo(f"  {difference}")
    click.echo(f"{step['commits']:,} commits with {step['rows']:,} rows were checked")
    for problem in step["problems"]:
        click.echo(f"PROBLEM {problem}")
    if not step["expired"]:
        return len(step["problems"])
    click.echo(
        f"{'EXPIRED' if is_forgotten else 'PROBLEM'} {step['expired']:,} commits have expired in the lake, so only the warehouse has their "
        "versions of rows, and a reload loses them" + ("" if is_forgotten else "; add --forget-expired if that is acceptable")
    )
    return len(step["problems"]) + (not is_forgotten)


def describe_contract(lake: Lake, dataset: str) -> list[str]:
    """Return what the contract of a dataset has that its newest commit has not, as lines; empty without a contract or a commit."""
    paths = [path for path in contract_files() if path.name.partition(".")[0] == dataset]
    commit = lake.find_newest_commit(dataset) if dataset in lake.datasets() else None
    if not paths or commit is None:
        return []
    differences = compare_contract(contracts.load(paths[0]), commit, lake.read(commit.data))
    if not differences:
        return []
    first = f"the contract has what {dataset}/{commit.partition} commit {commit.number}, the newest, does not have yet:"
    return [first, *(f"  {text}" for text in differences), "run the extractor first, with --replay if the vendor has nothing new"]


def compare_contract(contract: Contract, commit: Commit, data: bytes) -> list[str]:
    """Return how a contract differs from a commit, whose Parquet file is `data`, in types, key and leaf."""
    from arro3.io import read_parquet  # noqa: PLC0415  heavy

    schema = read_parquet(io.BytesIO(data)).schema
    types = {name: schema.field(name).type for name in schema.names if name != ROW_NUMBER}
    fields = [field for field in contract.fields if field.name in types and types[field.name] != contracts.arrow_type(field.type)]
    texts = [f"column {field.name}: {field.type}" for field in fields]
    texts += [f"key: {', '.join(contract.key)}"] if contract.key != commit.key else []
    return texts + ([f"leaf: {contract.leaf}"] if contract.leaf != commit.leaf else [])
