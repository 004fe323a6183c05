"""Runs a flow on the stack of docker-compose.yml, from the sample vendors to published marts, and tells how it goes."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from jobkit import prefect_api
from jobkit.errors import ExitCode, JobError, MisconfiguredError

from images import docker_cli
from images.plan import PlanError
from jobs.catalogue import CatalogueError
from orchestration.compose import command, settings
from orchestration.console import follow, reporter
from orchestration.deployments import register
from orchestration.local.sample_parameters import sample

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = click.DateTime(["%Y-%m-%d"])
BACKFILL, PUBLISHES = "backfill", "publish-marts"
NOTHING: Mapping[str, Any] = {}
DEFAULT_DIRECTORY = ".finelt/compose"
ANSWERS_WITHIN_S = 10.0
# Ended containers stay a day, for whoever wants to look into them; labels that Prefect's worker gives them.
OLD = ("container", "prune", "--force", "--filter", f"label=io.prefect.deployment-name={settings.POOL}", "--filter", "until=24h")


@click.command()
@click.option("--pool", type=click.Choice([settings.POOL]), required=True, help="The work pool to run on.")
@click.option("--flow", type=click.Choice(register.FLOWS), default="daily", show_default=True, help="Which flow.")
@click.option("--start", type=DAY, metavar="DATE", help="With --flow backfill: the first day, inclusive.")
@click.option("--end", type=DAY, metavar="DATE", help="With --flow backfill: the last day, inclusive.")
@click.option("--again", is_flag=True, help="With --flow backfill: ask for what is committed too.")
@click.option("--plan-only", is_flag=True, help="With --flow backfill: show what would run, and end there.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where receipts.jsonl and a copy of the published site go.",
)
def main(pool: str, flow: str, directory: Path, **range_: datetime | bool | None) -> None:
    """Run a flow on the stack that ./scripts/compose up has started: each step is a container of its own."""
    if any(range_.values()) and flow != BACKFILL:
        raise click.UsageError(f"the {flow} flow takes no days; --flow {BACKFILL} does")
    if flow == BACKFILL and not (range_["start"] and range_["end"]):
        raise click.UsageError(f"--flow {BACKFILL} needs --start and --end")
    given = {name: str(value.date()) if isinstance(value, datetime) else value for name, value in range_.items() if value}
    with reporter.Teller() as teller:
        sys.exit(run(command.ENV_FILE, pool, directory.absolute(), teller, flow, given))


def run(
    env_file: Path, pool: str, directory: Path, teller: reporter.Teller, flow: str = "daily", given: Mapping[str, Any] = NOTHING
) -> int:
    """The exit code: 0, or that of the job that failed. `given` are the flow's own parameters, such as a backfill's days."""
    try:
        _run(env_file, pool, directory, teller, flow, given)
    except KeyboardInterrupt:
        teller.line("you have left; the flow goes on, Prefect's pages show it", "red")
        return ExitCode.INTERRUPTED
    except (JobError, reporter.StepsFailedError) as error:
        teller.line(str(error), "red")
        return error.exit_code
    except (CatalogueError, PlanError, docker_cli.EngineError, prefect_api.ApiError) as error:
        teller.line(str(error), "red")
        return ExitCode.BUG
    except (ClientError, BotoCoreError) as error:
        teller.line(f"the site cannot be copied from S3: {error}", "red")
        return ExitCode.BUG
    return 0


def _run(env_file: Path, pool: str, directory: Path, teller: reporter.Teller, flow: str, given: Mapping[str, Any]) -> None:
    known = command.read(env_file)
    if not known:
        raise MisconfiguredError("there is no stack yet; start it with ./scripts/compose up --detach")
    directory.mkdir(parents=True, exist_ok=True)
    page = f"http://127.0.0.1:{known['FINELT_PREFECT_PORT']}"
    api = prefect_api.api({"PREFECT_API_URL": f"{page}/api", "PREFECT_API_AUTH_STRING": known["FINELT_PREFECT_AUTH"]})
    try:
        api.call("GET", "/admin/version", within_s=ANSWERS_WITHIN_S)
    except prefect_api.UnreachableError:
        raise MisconfiguredError(f"no Prefect server answers at {page}; start it with ./scripts/compose up --detach") from None
    teller.line("building the images that are missing, and registering a deployment for each")
    defaults = settings.pool_defaults(known["COMPOSE_PROJECT_NAME"])
    register.register_deployments(
        api, register.all_deployments(kind=settings.KIND, pool=pool), kind=settings.KIND, pool=pool, defaults=defaults
    )
    user = known["FINELT_PREFECT_AUTH"].partition(":")[0]
    teller.line(f"ready; Prefect is at {page} (user {user}, password: FINELT_PREFECT_AUTH in {env_file.name})")
    run_id = follow.start(api, flow, pool, {**parameters(flow), **given})
    steps, ending = reporter.follow(api, run_id, lambda: None, directory, teller)
    docker_cli.docker(*OLD)
    reporter.conclude(steps, ending, teller, f"{page}/runs/flow-run/{run_id} has its log")
    if not any((step.receipt or {}).get("job") == PUBLISHES for step in steps):
        teller.plain(f"What the flow found is told at {page}/runs/flow-run/{run_id}?tab=Artifacts")
        return
    copy_site(known, directory / "site")
    index = directory / "site" / "index.html"
    teller.plain(f"A copy of the site is {index}; open it in a browser: {index.as_uri()}")
    teller.plain(f"\nAgain, everything is unchanged: ./scripts/run --pool {shlex.quote(pool)}; stop the stack: ./scripts/compose down")


def parameters(flow: str) -> dict[str, Any]:
    """Of a flow on the stack, with the sample vendors; a backfill brings its own days."""
    extracts = sample(settings.VENDORS_URL, f"file://{settings.SAMPLE_TOKEN}")
    if flow == "reconcile":
        return {}
    if flow == BACKFILL:
        extracts = {
            job: {name: value for name, value in options.items() if name not in ("start", "end")} for job, options in extracts.items()
        }
    return settings.parameters(extracts)


def copy_site(known: Mapping[str, str], to: Path) -> None:
    """The published site, from the bucket to a folder; the pages that name a version come after it."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{known['FINELT_S3_PORT']}",
        region_name="us-east-1",
        aws_access_key_id=known["FINELT_S3_ACCESS_KEY"],
        aws_secret_access_key=known["FINELT_S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=settings.BUCKET, Prefix="site/")
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    for key in sorted(keys, key=lambda key: (not key.startswith("site/v/"), key)):
        path = to / key.removeprefix("site/")
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(settings.BUCKET, key, str(path))


if __name__ == "__main__":
    main(prog_name="scripts/run")
