"""Starts a job's deployment, waits for it, and gives its receipt. The only function of ours that starts a job."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import stamina
from httpx import TransportError
from jobkit.errors import ExitCode
from jobkit.prefect_api import ApiError, api
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.deployments import arun_deployment
from prefect.exceptions import FlowRunWaitTimeout, ObjectNotFound, PrefectHTTPStatusError, TerminationSignal
from prefect.flow_runs import wait_for_flow_run
from prefect.runtime import deployment
from websockets.exceptions import WebSocketException

from orchestration.deployments.parameters import expand_job_name
from orchestration.runtime.retry import patiently
from orchestration.runtime.summary import Step, note

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

Receipt = dict[str, Any]
T = TypeVar("T")

RUN = "run"
NAMED = 2  # datasets in the name of a run
LOOK_EVERY_S, PAUSE_S = 30, 0.2
TRIES = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
BUDGET_S = 4 * 3600  # a step that still fails after this fails for good, whatever tries are left; its own work counts too
REFUSALS = (409, 422)  # parameters that the deployment's schema does not take


class JobFailedError(Exception):
    """A job did not do its work. The message is the job's name and its own sentence.

    `exit_code` is None when the job left no receipt: its process, container or machine is gone.
    """

    def __init__(self, job: str, sentence: str, exit_code: int | None, state: str) -> None:
        super().__init__(f"{job}: {sentence}")
        self.job, self.exit_code, self.state = job, exit_code, state

    @property
    def temporary(self) -> bool:
        """Whether another try may succeed: the job says so, or its infrastructure failed it."""
        return self.exit_code == ExitCode.TEMPORARY or (self.state == "CRASHED" and self.exit_code in (None, ExitCode.STOPPED))


def worth_a_retry(error: Exception) -> bool:
    """Only what another try can mend."""
    return isinstance(error, JobFailedError) and error.temporary


async def run_job(job: str, **options: object) -> Receipt:
    """The receipt of a job run on the work pool that this flow runs on. Each try is a child run of its own, linked to the flow.

    Raises JobFailedError with the job's sentence. No task of Prefect's around it: that one would add nothing but its own requests,
    a tenth of the whole run.
    """
    return await run(job, options, subject=_about(options))


async def plan(job: str, **options: object) -> list[dict[str, Any]]:
    """The partitions that a job would fill, by its own word, and which commit the lake holds of each. Raises JobFailedError."""
    receipt = await run(job, options, verb="plan", subject="plan")
    return list(receipt["details"]["plan"])


async def run(job: str, options: Mapping[str, object], *, verb: str = "run", subject: str = "") -> Receipt:
    """The receipt of one verb of a job; the run is named by the job and its subject. Raises JobFailedError."""
    tries = stamina.retry_context(
        worth_a_retry, attempts=TRIES, timeout=BUDGET_S, wait_initial=FIRST_PAUSE_S, wait_max=LONGEST_PAUSE_S, wait_jitter=FIRST_PAUSE_S
    )
    async for attempt in tries:
        with attempt:
            return await _try(job, options, verb, subject, attempt.num)
    raise AssertionError  # the last try returns or raises


async def _try(job: str, options: Mapping[str, object], verb: str, subject: str, number: int) -> Receipt:
    name = " ".join(filter(None, [job, subject, f"(try {number})" if number > 1 else ""]))
    run_id = await _start(job, options, verb, name, str(uuid4()))
    async with get_client() as client:
        with _cancelling(run_id):
            run = await _ended(client, run_id)
        receipt = await _receipt(client, run_id)
    state = run.state.type.value if run.state else "UNKNOWN"
    note(Step(run_id, name, state, (run.state and run.state.message) or state.lower(), receipt))
    if receipt is None or run.state is None or not run.state.is_completed():
        raise _error(job, run, receipt)
    return receipt


async def side_by_side(*steps: Coroutine[Any, Any, T]) -> list[T]:
    """What all steps give, run at once. Raises the first failure, but only when all have ended: no step is left alone."""
    ended = await asyncio.gather(*steps, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in ended if not isinstance(outcome, BaseException)]


def _about(options: Mapping[str, object]) -> str:
    """What a run with these options is about, as far as its name should tell: the datasets, if it is given any."""
    given = options.get("dataset")
    if not isinstance(given, list) or not given:
        return ""
    return ", ".join(given) if len(given) <= NAMED else f"of {len(given)} datasets"


def datasets(receipt: Receipt) -> list[str]:
    """The datasets a job's receipt speaks of, in its order."""
    return list(dict.fromkeys(partition["dataset"] for partition in receipt["partitions"]))


@patiently
async def _start(job: str, options: Mapping[str, object], verb: str, name: str, key: str) -> UUID:
    """The id of a new run. With a key of its own, so that a request sent twice starts one run."""
    try:
        run = await arun_deployment(
            f"{job}/{deployment.name}",
            parameters=expand_job_name(options, job),
            flow_run_name=name,
            idempotency_key=key,
            timeout=0,
            job_variables=None if verb == RUN else {"command": await _command(job, verb)},
        )
    except ObjectNotFound:
        raise _unknown(job) from None
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in REFUSALS:
            raise
        raise JobFailedError(job, f"Prefect did not take its options: {error.response.text}", ExitCode.USAGE, "") from None
    return run.id


@patiently
async def _command(job: str, verb: str) -> str:
    """What the pool starts for another verb than `run`: the deployment's own command, which ends with the verb."""
    async with get_client() as client:
        found = await client.read_deployment_by_name(f"{job}/{deployment.name}")
    return str((found.job_variables or {}).get("command", RUN)).removesuffix(RUN) + verb


@patiently
async def options_of(job: str) -> frozenset[str]:
    """The names of a job's options. Raises JobFailedError for a job that has no deployment."""
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(f"{job}/{deployment.name}")
        except ObjectNotFound:
            raise _unknown(job) from None
    return frozenset((found.parameter_openapi_schema or {}).get("properties", {}))


async def _ended(client: PrefectClient, flow_run_id: UUID) -> FlowRun:
    """The run, once it has ended. The server's event says so at once; should one be lost, the next look finds out."""
    told = False
    while True:
        with suppress(FlowRunWaitTimeout, WebSocketException, OSError, TransportError):
            run = await (client.read_flow_run(flow_run_id) if told else wait_for_flow_run(flow_run_id, timeout=LOOK_EVERY_S, client=client))
            if run.state and run.state.is_final():
                return run
            told = True
        await asyncio.sleep(PAUSE_S)  # the event came before its transaction was done, or the server is away


@contextmanager
def _cancelling(flow_run_id: UUID) -> Iterator[None]:
    """Cancel the run when we are stopped before its end. The server would do so too, some seconds later.

    No client of Prefect's here: the event loop may be gone by the time.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, TerminationSignal, asyncio.CancelledError, GeneratorExit):
        cancelling = {"state": {"type": "CANCELLING", "message": "the flow was stopped"}}
        with suppress(ApiError):
            api(os.environ).call("POST", f"/flow_runs/{flow_run_id}/set_state", cancelling, within_s=2)
        raise


@patiently
async def _receipt(client: PrefectClient, flow_run_id: UUID) -> Receipt | None:
    """What the job's reporter posted; None when it did not come that far."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=["receipt"]))
    artifacts = await client.read_artifacts(artifact_filter=wanted)
    receipt = artifacts[-1].data if artifacts else None
    return receipt if isinstance(receipt, dict) else None


def _unknown(job: str) -> JobFailedError:
    return JobFailedError(job, f"no deployment {job}/{deployment.name}; register it with scripts/deploy", ExitCode.MISCONFIGURED, "")


def _error(job: str, run: FlowRun, receipt: Receipt | None) -> JobFailedError:
    state = run.state.type.value if run.state else "UNKNOWN"
    if state == "COMPLETED":
        return JobFailedError(job, "ended well but left no receipt, which counts as failed", None, state)
    sentence = (receipt or {}).get("error") or (run.state.message if run.state else None) or f"ended as {state}"
    return JobFailedError(job, sentence, (receipt or {}).get("exit_code"), state)
