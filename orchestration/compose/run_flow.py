"""Run a flow on the stack of docker-compose.yml, from the sample vendors to published marts, and report its progress."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from jobkit import prefect_api, secrets
from jobkit.errors import ExitCode, JobError, MisconfiguredError
from jobkit.version import version_option

from orchestration.compose import command, env_file, settings
from orchestration.console.follow import read_artifacts, start_flow
from orchestration.console.reporter import FlowFailedError, FlowReporter, print_artifact, print_summary, report_flow
from orchestration.deployments import register, schedules
from orchestration.deployments.notifications import register_notifications
from orchestration.deployments.parameters import read_settings
from orchestration.local.options import directory_option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestration.console.follow import FlowResult, FlowStep

DATE = click.DateTime(["%Y-%m-%d"])
BACKFILL, PUBLISH_JOB, PLAN = "backfill", "publish-marts", "backfill-plan"
NO_PARAMETERS: Mapping[str, Any] = {}
DEFAULT_DIRECTORY = ".finelt/compose"
SERVER_TIMEOUT_S = 10.0


@click.command()
@version_option()
@click.option("--pool", type=click.Choice([settings.POOL]), default=settings.POOL, show_default=True, help="The work pool to run on.")
@click.option("--flow", type=click.Choice(register.FLOWS), default="daily", show_default=True, help="Which flow.")
@click.option("--start", type=DATE, metavar="DATE", help="With --flow backfill: the first date, inclusive.")
@click.option("--end", type=DATE, metavar="DATE", help="With --flow backfill: the last date, inclusive.")
@click.option("--refetch", is_flag=True, help="With --flow backfill: also fetch what is committed.")
@click.option("--again", is_flag=True, hidden=True, help="Deprecated name of --refetch.")
@click.option("--plan-only", is_flag=True, help="With --flow backfill: publish the plan and run nothing.")
@directory_option("The directory for receipts.jsonl and a copy of the published site.", DEFAULT_DIRECTORY)
def main(pool: str, flow: str, directory: Path, *, again: bool, **options: datetime | bool | None) -> None:
    """Run a flow on the stack that ./scripts/compose up has started. Each step runs in its own container."""
    if again:
        click.echo("--again is deprecated; use --refetch", err=True)
        options["refetch"] = True
    if any(options.values()) and flow != BACKFILL:
        raise click.UsageError(f"the {flow} flow takes no dates; --flow {BACKFILL} does")
    if flow == BACKFILL and not (options["start"] and options["end"]):
        raise click.UsageError(f"--flow {BACKFILL} needs --start and --end")
    chosen = {name: str(value.date()) if isinstance(value, datetime) else value for name, value in options.items() if value}
    with FlowReporter() as reporter:
        sys.exit(run(env_file.ENV_FILE, pool, directory.absolute(), reporter, flow, chosen))


def run(
    path: Path, pool: str, directory: Path, reporter: FlowReporter, flow: str = "daily", options: Mapping[str, Any] = NO_PARAMETERS
) -> int:
    """Run a flow and return the exit code: 0, or that of the job that failed. `options` are the flow's own, such as a backfill's dates."""
    try:
        _run(path, pool, directory, reporter, flow, options)
    except KeyboardInterrupt:
        reporter.event("stopped", "red")
        return ExitCode.INTERRUPTED
    except prefect_api.UnreachableError as error:
        reporter.event(str(error), "red")
        return ExitCode.TEMPORARY
    except (JobError, FlowFailedError) as error:
        reporter.event(str(error), "red")
        return error.exit_code
    except prefect_api.ApiError as error:
        reporter.event(str(error), "red")
        return ExitCode.BUG
    except (ClientError, BotoCoreError) as error:
        reporter.event(f"the site cannot be copied from S3: {error}", "red")
        return ExitCode.BUG
    return ExitCode.DONE


def _run(path: Path, pool: str, directory: Path, reporter: FlowReporter, flow: str, options: Mapping[str, Any]) -> None:
    stack = env_file.read_stack(path)
    directory.mkdir(parents=True, exist_ok=True)
    server = f"http://127.0.0.1:{stack['FINELT_PREFECT_PORT']}"
    api = prefect_api.api({"PREFECT_API_URL": f"{server}/api", "PREFECT_API_AUTH_STRING": stack["FINELT_PREFECT_AUTH"]})
    try:
        api.call("GET", "/admin/version", within_s=SERVER_TIMEOUT_S)
    except prefect_api.UnreachableError:
        raise MisconfiguredError(f"no Prefect server answers at {server}; start it with ./scripts/compose up --detach") from None
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
    run_id = start_flow(api, flow, pool, dict(options))
    page = f"{server}/runs/flow-run/{run_id}"
    steps, result = follow(api, run_id, page, directory, reporter)
    for plan in read_artifacts(api, run_id, key={"any_": [PLAN]}):
        print_artifact(plan, reporter)
    print_summary(steps, result, reporter, f"{page} has its log")
    if not any(step.receipt and step.receipt["job"] == PUBLISH_JOB for step in steps):
        reporter.print(f"The flow's report is at {page}?tab=Artifacts")
        return
    download_site(stack, directory / "site")
    index = directory / "site" / "index.html"
    reporter.print(f"A copy of the site is {index}; open it in a browser: {index.as_uri()}")
    reporter.print(f"\nAgain, everything is unchanged: ./scripts/run --pool {shlex.quote(pool)}; stop the stack: ./scripts/compose down")


def follow(api: prefect_api.Api, run_id: str, page: str, directory: Path, reporter: FlowReporter) -> tuple[list[FlowStep], FlowResult]:
    """Report a flow's progress until it ends. If this cannot go on, say that the flow does and how to cancel it. Raises ApiError."""
    try:
        return report_flow(api, run_id, lambda: None, directory, reporter)
    except (KeyboardInterrupt, prefect_api.UnreachableError):
        reporter.event(f"the flow goes on: {page}; cancel it with ./scripts/finelt cancel --compose {run_id[:8]}", "red")
        raise


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
