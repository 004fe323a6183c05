"""Look at runs on a Prefect server from a terminal: list them, print their logs, cancel one."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from jobkit.errors import TemporaryError, UsageError
from jobkit.prefect_api import ApiError
from jobkit.version import version_option

from finelt import stacks
from orchestration.console.follow import FINAL_STATES
from orchestration.deployments.paging import read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jobkit.prefect_api import Api

LATEST = "latest"
SEARCHED = 200  # the runs among which RUN is looked for
LEVELS = ((40, "ERROR "), (30, "WARN "), (0, ""))
RUN = click.argument("run", metavar="RUN")


def read_runs(api: Api, *, limit: int, parent: str | None = None) -> list[dict[str, Any]]:
    """Return the latest runs that people or schedules started, newest first, or the steps of a run in their order. Raises ApiError."""
    chosen: dict[str, Any] = {"parent_flow_run_id": {"any_": [parent]}} if parent else {"parent_task_run_id": {"is_null_": True}}
    sort = "EXPECTED_START_TIME_ASC" if parent else "EXPECTED_START_TIME_DESC"
    found = api.call("POST", "/flow_runs/filter", {"flow_runs": chosen, "sort": sort, "limit": limit})
    return [_describe_run(run) for run in found]


def _describe_run(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run["id"],
        "name": run["name"],
        "state": run["state"]["type"],
        "started_at": run["start_time"],
        "elapsed_s": round(float(run["total_run_time"] or run["estimated_run_time"] or 0), 1),
        "message": run["state"]["message"] or "",
    }


def find_run(api: Api, text: str) -> dict[str, Any]:
    """Return the run with this id, beginning of an id, or name; `latest` is the newest one. Raises UsageError, ApiError."""
    runs = api.call("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": SEARCHED})
    tops = [run for run in runs if not run["parent_task_run_id"]]
    if text == LATEST and tops:
        return dict(tops[0])
    found = [run for run in runs if run["id"].startswith(text.lower())] or [run for run in runs if run["name"] == text]
    if not found:
        raise UsageError(f"there is no run {text!r} among the latest {SEARCHED}; `finelt runs` lists them, and `latest` is the newest one")
    if len(found) > 1 and found[0]["id"] != text:
        raise UsageError(f"{len(found)} runs are called {text!r}; use more of the id: {', '.join(run['id'] for run in found[:3])}")
    return dict(found[0])


@contextmanager
def _report_in_one_sentence() -> Iterator[None]:
    """Raise what a server refused, or that it does not answer, as an error with an exit code. Raises TemporaryError."""
    try:
        yield
    except ApiError as error:
        raise TemporaryError(str(error)) from None


@click.command()
@version_option()
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--limit", type=click.IntRange(1, SEARCHED), default=20, show_default=True, help="How many runs.")
@stacks.server_options
def list_runs(run: str | None, limit: int, directory: Path, api_url: str | None, *, is_compose: bool, as_json: bool) -> None:
    """List the latest runs, or the steps of RUN: an id or its beginning, a name, or `latest`."""
    with _report_in_one_sentence():
        api = stacks.open_api(directory, api_url, is_compose=is_compose)
        rows = read_runs(api, limit=SEARCHED if run else limit, parent=find_run(api, run)["id"] if run else None)
    columns: dict[str, Callable[[Any], str]] = {
        "run": lambda run_id: str(run_id)[:8],
        "name": str,
        "state": lambda state: str(state).lower(),
        "started_at": lambda text: f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}",
        "elapsed_s": "{:.1f} s".format,
        "message": str,
    }
    stacks.print_rows(rows, as_json=as_json, columns=columns, empty="it has no steps" if run else "there are no runs yet")


@click.command()
@version_option()
@RUN
@stacks.server_options
def show_logs(run: str, directory: Path, api_url: str | None, *, is_compose: bool, as_json: bool) -> None:
    """Print the log of RUN and of its steps, in the order of time (UTC). RUN is an id or its beginning, a name, or `latest`."""
    with _report_in_one_sentence():
        api = stacks.open_api(directory, api_url, is_compose=is_compose)
        chosen = find_run(api, run)
        steps = read_runs(api, limit=SEARCHED, parent=chosen["id"])
        names = {chosen["id"]: chosen["name"], **{step["run"]: step["name"] for step in steps}}
        entries = read_all(api, "/logs/filter", {"logs": {"flow_run_id": {"any_": list(names)}}, "sort": "TIMESTAMP_ASC"})
    rows = [
        {"at": entry["timestamp"], "run": names[entry["flow_run_id"]], "level": entry["level"], "message": entry["message"]}
        for entry in entries
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        level = next(word for least, word in LEVELS if row["level"] >= least)
        click.echo(f"{datetime.fromisoformat(row['at']):%H:%M:%S}  {row['run']}: {level}{row['message']}")
    if not rows:
        click.echo("it has no log yet", err=True)


@click.command()
@version_option()
@RUN
@stacks.server_options
def cancel(run: str, directory: Path, api_url: str | None, *, is_compose: bool, as_json: bool) -> None:
    """Cancel RUN and its steps: each stops within seconds and leaves nothing half done.

    RUN is an id or its beginning, a name, or `latest`.
    """
    with _report_in_one_sentence():
        api = stacks.open_api(directory, api_url, is_compose=is_compose)
        chosen = find_run(api, run)
        if chosen["state"]["type"] in FINAL_STATES:
            raise UsageError(f"{chosen['name']} has ended: {chosen['state']['type'].lower()}; only a run that has not can be cancelled")
        state = {"type": "CANCELLING", "message": "cancelled with `finelt cancel`"}
        answer = api.call("POST", f"/flow_runs/{chosen['id']}/set_state", {"state": state})
        if answer["status"] != "ACCEPT":
            raise TemporaryError(f"Prefect did not cancel {chosen['name']}: {answer['details'].get('reason')}; look at `finelt runs`")
    result = {"run": chosen["id"], "name": chosen["name"], "state": answer["state"]["type"]}
    click.echo(json.dumps(result) if as_json else f"{chosen['name']} is being cancelled; `finelt runs` shows when it has stopped")
