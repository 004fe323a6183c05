"""Start a job's deployment, wait for it, and return its receipt. This is the only function that starts a job."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID, uuid4

import stamina
from httpx import HTTPError
from jobkit.errors import ExitCode
from jobkit.prefect_api import ApiError, api, deployment_path
from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.deployments import arun_deployment
from prefect.exceptions import FlowRunWaitTimeout, ObjectNotFound, PrefectHTTPStatusError
from prefect.flow_runs import wait_for_flow_run
from prefect.runtime import flow_run
from websockets.exceptions import WebSocketException

from orchestration.deployments.parameters import expand_job_name
from orchestration.runtime.retry import is_unreachable, retry_while_unreachable
from orchestration.runtime.summary import StepRecord, record_step

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from jobkit.receipt import Receipt
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

T = TypeVar("T")

RUN_VERB = "run"
MAX_NAMED_DATASETS = 2  # in the name of a run
POLL_EVERY_S, PAUSE_S = 30, 0.2
MAX_ATTEMPTS = 5
FIRST_PAUSE_S, MAX_PAUSE_S = 2.0, 60.0
RETRY_BUDGET_S = 4 * 3600  # no new attempt after this; the time that the attempts themselves take counts too
INVALID_PARAMETERS = (409, 422)  # HTTP status if the deployment's schema does not accept the parameters


class JobFailedError(Exception):
    """A job failed. The message is the job's name and its own error message.

    `exit_code` is None if the job left no receipt: its process, container or machine is gone. It is 0 if it went after the receipt.
    """

    def __init__(self, job: str, message: str, exit_code: int | None, state: str) -> None:
        super().__init__(f"{job}: {message}")
        self.job, self.exit_code, self.state = job, exit_code, state

    @property
    def is_temporary(self) -> bool:
        """Whether another attempt may succeed: the job says so with exit code 75, or its infrastructure failed."""
        return self.exit_code == ExitCode.TEMPORARY or (
            self.state == "CRASHED" and self.exit_code in (None, ExitCode.DONE, ExitCode.STOPPED)
        )


def is_retryable(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, JobFailedError) and error.is_temporary


async def run_job(job: str, **options: object) -> Receipt:
    """Run a job on the work pool of this flow and return its receipt. Each attempt is a child run, linked to the flow.

    Raises JobFailedError. There is no Prefect task around the run: it would only add its own requests, a tenth of the whole run.
    """
    return await run_verb(job, options, subject=_describe_subject(options))


async def plan_job(job: str, **options: object) -> list[dict[str, Any]]:
    """Return the job's plan: the partitions it would fill, and which commit the lake holds of each. Raises JobFailedError."""
    receipt = await run_verb(job, options, verb="plan", subject="plan")
    return list(receipt["details"]["plan"])


async def run_verb(job: str, options: Mapping[str, object], *, verb: str = RUN_VERB, subject: str = "") -> Receipt:
    """Run one verb of a job and return its receipt. The run is named after the job and its subject. Raises JobFailedError."""
    attempts = stamina.retry_context(
        is_retryable,
        attempts=MAX_ATTEMPTS,
        timeout=RETRY_BUDGET_S,
        wait_initial=FIRST_PAUSE_S,
        wait_max=MAX_PAUSE_S,
        wait_jitter=FIRST_PAUSE_S,
    )
    async for attempt in attempts:
        with attempt:
            return await _run_once(job, options, verb, subject, attempt.num)
    raise AssertionError  # the last attempt returns or raises


async def _run_once(job: str, options: Mapping[str, object], verb: str, subject: str, attempt: int) -> Receipt:
    name = " ".join(filter(None, [job, subject, f"(try {attempt})" if attempt > 1 else ""]))
    run_id = await _start_run(job, options, verb, name, str(uuid4()))
    async with get_client() as client:
        with _cancel_on_stop(run_id):
            run = await _wait_until_final(client, run_id)
        receipt = await _read_receipt(client, run_id)
    state = run.state.type.value if run.state else "UNKNOWN"
    message = (run.state and run.state.message) or state.lower()
    record_step(StepRecord(run_id, name, state, message, receipt))
    get_run_logger().info("%s: %s", name, message)
    if receipt is None or run.state is None or not run.state.is_completed():
        raise _job_failed_error(job, run, receipt)
    return receipt


async def gather_all(*steps: Coroutine[Any, Any, T]) -> list[T]:
    """Run all steps concurrently and return their results. If some fail, wait for the others, then raise the first failure.

    A signal that ends the flow is raised at once, whichever step it reaches.
    """

    async def run(step: Coroutine[Any, Any, T]) -> T | Exception:
        try:
            return await step
        except Exception as error:  # noqa: BLE001  raised below
            return error

    results = await asyncio.gather(*map(run, steps))
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [result for result in results if not isinstance(result, Exception)]


def _describe_subject(options: Mapping[str, object]) -> str:
    """Return what the name of a run with these options should mention: its datasets or its one day, if it has any."""
    if "start" in options and options["start"] == options.get("end"):
        return str(options["start"])
    datasets = options.get("dataset")
    if not isinstance(datasets, list) or not datasets:
        return ""
    return ", ".join(datasets) if len(datasets) <= MAX_NAMED_DATASETS else f"of {len(datasets)} datasets"


def list_datasets(receipt: Receipt) -> list[str]:
    """Return the datasets that a job's receipt names, in its order, each once."""
    return list(dict.fromkeys(partition["dataset"] for partition in receipt["partitions"]))


@retry_while_unreachable
async def _start_run(job: str, options: Mapping[str, object], verb: str, name: str, key: str) -> UUID:
    """Start a run and return its id. Its idempotency key makes a request that is sent twice start one run."""
    path = await _find_deployment(job)
    try:
        run = await arun_deployment(
            path,
            parameters=expand_job_name(options, job),
            flow_run_name=name,
            idempotency_key=key,
            timeout=0,
            job_variables=None if verb == RUN_VERB else {"command": await _read_command(path, verb)},
        )
    except ObjectNotFound:
        raise _no_deployment_error(job, path) from None
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in INVALID_PARAMETERS:
            raise
        raise JobFailedError(job, f"Prefect rejected its options: {error.response.text}", ExitCode.USAGE, "") from None
    return run.id


@retry_while_unreachable
async def _read_command(path: str, verb: str) -> str:
    """Return the command of a deployment for another verb than `run`: its own command, which ends with the verb."""
    async with get_client() as client:
        job_deployment = await client.read_deployment_by_name(path)
    return str((job_deployment.job_variables or {}).get("command", RUN_VERB)).removesuffix(RUN_VERB) + verb


@retry_while_unreachable
async def read_option_names(job: str) -> frozenset[str]:
    """Return the names of a job's options. Raises JobFailedError for a job that has no deployment."""
    path = await _find_deployment(job)
    async with get_client() as client:
        try:
            job_deployment = await client.read_deployment_by_name(path)
        except ObjectNotFound:
            raise _no_deployment_error(job, path) from None
    return frozenset((job_deployment.parameter_openapi_schema or {}).get("properties", {}))


async def _wait_until_final(client: PrefectClient, flow_run_id: UUID) -> FlowRun:
    """Wait for the run to end. The server's event says so at once; if the event is lost, the next poll notices."""
    event_received = False
    while True:
        try:
            if event_received:
                run = await client.read_flow_run(flow_run_id)
            else:
                run = await wait_for_flow_run(flow_run_id, timeout=POLL_EVERY_S, client=client)
            if run.state and run.state.is_final():
                return run
            event_received = True
        except (FlowRunWaitTimeout, WebSocketException, OSError):
            pass
        except HTTPError as error:
            if not is_unreachable(error):
                raise
        await asyncio.sleep(PAUSE_S)  # the event arrived before its transaction was committed, or the server is unreachable


@contextmanager
def _cancel_on_stop(flow_run_id: UUID) -> Iterator[None]:
    """Cancel the run if this flow is stopped first. The server would do so too, some seconds later.

    This uses no client of Prefect's: the event loop may be closed by then.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        cancelling = {"state": {"type": "CANCELLING", "message": "the flow was stopped"}}
        with suppress(ApiError):
            api(os.environ).call("POST", f"/flow_runs/{flow_run_id}/set_state", cancelling, within_s=2)
        raise


@retry_while_unreachable
async def _read_receipt(client: PrefectClient, flow_run_id: UUID) -> Receipt | None:
    """Return the receipt that the job's reporter posted, None if it posted none."""
    receipts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=["receipt"]))
    artifacts = await client.read_artifacts(artifact_filter=receipts)
    receipt = artifacts[-1].data if artifacts else None
    return cast("Receipt", receipt) if isinstance(receipt, dict) else None


async def _find_deployment(job: str) -> str:
    """Return the full name of a job's deployment on the work pool on which the flow itself runs."""
    async with get_client() as client:
        run = await client.read_flow_run(UUID(flow_run.id))
    return deployment_path(job, str(run.work_pool_name))


def _no_deployment_error(job: str, path: str) -> JobFailedError:
    return JobFailedError(job, f"no deployment {path}; register it with scripts/deploy", ExitCode.MISCONFIGURED, "")


def _job_failed_error(job: str, run: FlowRun, receipt: Receipt | None) -> JobFailedError:
    state = run.state.type.value if run.state else "UNKNOWN"
    if state == "COMPLETED":
        return JobFailedError(job, "completed but left no receipt, which counts as failed", None, state)
    error, exit_code = (receipt["error"], receipt["exit_code"]) if receipt else (None, None)
    return JobFailedError(job, error or (run.state.message if run.state else None) or f"ended as {state}", exit_code, state)
