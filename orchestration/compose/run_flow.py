"""Run a flow on the stack of docker-compose.yml, from the sample vendors to published marts, or on a kept demo, and report its progress."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from jobkit import prefect_api, secrets
from jobkit.errors import ExitCode, MisconfiguredError
from jobkit.version import version_option

from orchestration.compose import command, env_file, settings
from orchestration.console.follow import check_server
from orchestration.console.reporter import FlowReporter, report_errors, run_flow
from orchestration.deployments import register, schedules
from orchestration.deployments.notifications import register_notifications
from orchestration.deployments.parameters import read_settings
from orchestration.local import kept_flow
from orchestration.local.options import DEFAULT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DATE = click.DateTime(["%Y-%m-%d"])
BACKFILL, PUBLISH_JOB = "backfill", "publish-marts"
NO_PARAMETERS: Mapping[str, Any] = {}
DIRECTORIES = {settings.POOL: Path(".finelt/compose"), kept_flow.POOL: Path(DEFAULT_DIRECTORY)}
EXAMPLES = """\b
Examples:
  finelt run --pool docker                        # the daily flow, in containers
  finelt run --pool process --flow backfill --start 2012-11-01 --end 2012-11-30   # on a kept demo
"""


@click.command(epilog=EXAMPLES)
@version_option()
@click.option(
    "--pool",
    type=click.Choice(list(DIRECTORIES)),
    default=settings.POOL,
    show_default=True,
    help="Where it runs: on the stack in containers, or, with `process`, on what `finelt demo --keep` left running.",
)
@click.option("--flow", type=click.Choice(register.FLOWS), default="daily", show_default=True, help="Which flow.")
@click.option("--start", type=DATE, metavar="DATE", help="With --flow backfill: the first date, inclusive.")
@click.option("--end", type=DATE, metavar="DATE", help="With --flow backfill: the last date, inclusive.")
@click.option("--refetch", is_flag=True, help="With --flow backfill: also fetch what is committed.")
@click.option("--again", is_flag=True, hidden=True, help="Deprecated name of --refetch.")
@click.option("--plan-only", is_flag=True, help="With --flow backfill: publish the plan and run nothing.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory of the kept demo, or, for the stack in containers, of receipts.jsonl and a copy of the published site. "
    f"Default: {DIRECTORIES[kept_flow.POOL]} or {DIRECTORIES[settings.POOL]}.",
)
def main(
    pool: str,
    flow: str,
    directory: Path | None,
    start: datetime | None,
    end: datetime | None,
    *,
    again: bool,
    refetch: bool,
    plan_only: bool,
) -> None:
    """Run a flow on the stack that ./scripts/compose up has started, each step in its own container, or on a kept demo.

    A backfill fetches what the lake does not have of the days from --start to --end, then loads, transforms and publishes once.
    """
    if again:
        click.echo("--again is deprecated; use --refetch", err=True)
    dates = {name: str(date.date()) for name, date in {"start": start, "end": end}.items() if date}
    chosen = {**dates, **{name: True for name, is_set in {"refetch": refetch or again, "plan_only": plan_only}.items() if is_set}}
    if chosen and flow != BACKFILL:
        raise click.UsageError(f"the {flow} flow takes no dates; --flow {BACKFILL} does")
    if flow == BACKFILL and not (start and end):
        raise click.UsageError(f"--flow {BACKFILL} needs --start and --end")
    if start and end and start > end:
        raise click.UsageError(f"--start is {start.date()}, after --end, which is {end.date()}; swap them")
    place = (directory or DIRECTORIES[pool]).absolute()
    with FlowReporter() as reporter:
        if pool == kept_flow.POOL:
            sys.exit(report_errors(reporter, lambda: kept_flow.run(place, reporter, flow, chosen)))
        sys.exit(run(env_file.ENV_FILE, pool, place, reporter, flow, chosen))


def run(
    path: Path, pool: str, directory: Path, reporter: FlowReporter, flow: str = "daily", options: Mapping[str, Any] = NO_PARAMETERS
) -> int:
    """Run a flow in containers and return the exit code: 0, or that of the job that failed. `options` are the flow's own, such as dates."""
    try:
        return report_errors(reporter, lambda: _run(path, pool, directory, reporter, flow, options))
    except (ClientError, BotoCoreError) as error:
        reporter.event(f"the site cannot be copied from S3: {error}", "red")
        return ExitCode.BUG


def _run(path: Path, pool: str, directory: Path, reporter: FlowReporter, flow: str, options: Mapping[str, Any]) -> None:
    if not path.exists():
        raise MisconfiguredError(
            "there is no stack yet; start it with ./scripts/compose up --detach, or run it on a kept demo with --pool process"
        )
    stack = env_file.read_stack(path)
    directory.mkdir(parents=True, exist_ok=True)
    server = f"http://127.0.0.1:{stack['FINELT_PREFECT_PORT']}"
    api = prefect_api.api({"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": stack["FINELT_PREFECT_AUTH"]})
    check_server(api, "start it with ./scripts/compose up --detach")
    reporter.event("building the images that are missing, and registering a deployment for each")
    command.remember_build(stack)
    defaults, own = settings.pool_defaults(stack["COMPOSE_PROJECT_NAME"]), read_settings()
    deployments = register.all_deployments(kind=settings.KIND, pool=pool)
    parameters, notes = settings.parameters(own, deployments)
    for note in notes:
        reporter.event(note, "yellow")
    deployments, _ = schedules.apply_parameters(deployments, parameters, "orchestration/compose/settings.py", None)
    register.register_deployments(api, deployments, kind=settings.KIND, pool=pool, defaults=defaults)
    register.delete_removed_deployments(api, deployments, pool=pool)
    if url := (secrets.resolve(own.webhook) if own.webhook else stack.get("FINELT_NOTIFICATIONS")):
        register_notifications(api, url)
    user = stack["FINELT_PREFECT_AUTH"].partition(":")[0]
    reporter.event(f"ready; Prefect is at {server} (user {user}, password: FINELT_PREFECT_AUTH in {path.name})")
    steps, page = run_flow(api, flow, pool, options, directory, reporter, "./scripts/finelt cancel --compose")
    if not any(step.receipt and step.receipt["job"] == PUBLISH_JOB for step in steps):
        reporter.print(f"The flow's report is at {page}?tab=Artifacts")
        return
    download_site(stack, directory / "site")
    index = directory / "site" / "index.html"
    reporter.print(f"A copy of the site is {index}; open it in a browser: {index.as_uri()}")
    reporter.print(f"\nAgain, everything is unchanged: ./scripts/run --pool {shlex.quote(pool)}; stop the stack: ./scripts/compose down")


def download_site(stack: Mapping[str, str], to: Path) -> None:
    """Download the published site from the bucket to a folder: first the files of the version, then the pages that point to it."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{stack['FINELT_S3_PORT']}",
        region_name="us-east-1",
        aws_access_key_id=stack["FINELT_S3_ACCESS_KEY"],
        aws_secret_access_key=stack["FINELT_S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=settings.BUCKET, Prefix="site/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    for key in sorted(keys, key=lambda key: (not key.startswith("site/v/"), key)):
        path = to / key.removeprefix("site/")
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(settings.BUCKET, key, str(path))
