"""The signal that ends a flow, wherever it reaches the flow's code."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from prefect.exceptions import TerminationSignal

from orchestration.runtime import run_job
from orchestration.runtime.termination import unwrap_termination


def terminate() -> NoReturn:
    raise TerminationSignal(signal.SIGTERM)


async def terminate_in_a_group() -> None:
    async def member() -> None:
        terminate()

    async with asyncio.TaskGroup() as group, asyncio.TaskGroup() as inner:
        group.create_task(asyncio.sleep(0))
        inner.create_task(member())


def test_a_termination_within_groups_of_exceptions_leaves_the_flow_by_itself() -> None:
    @unwrap_termination()
    async def flow() -> None:
        await terminate_in_a_group()

    with pytest.raises(TerminationSignal):
        asyncio.run(flow())


def test_a_group_without_a_termination_stays_as_it_is() -> None:
    @unwrap_termination()
    async def flow() -> None:
        raise BaseExceptionGroup("of a step", [KeyError("tickers"), ValueError()])

    with pytest.raises(ExceptionGroup, match="of a step"):
        asyncio.run(flow())


def test_a_termination_of_one_step_does_not_wait_for_the_others() -> None:
    """The other step never ends by itself."""
    ended = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    with pytest.raises(BaseExceptionGroup):
        asyncio.run(run_job.gather_all(endless(), terminate_in_a_group()))
    assert ended == ["endless"]


def test_an_error_of_one_step_waits_for_the_others() -> None:
    ended = []

    async def fail() -> None:
        raise ValueError("no tickers")

    async def work() -> None:
        await asyncio.sleep(0)
        ended.append("work")

    with pytest.raises(ValueError, match="no tickers"):
        asyncio.run(run_job.gather_all(fail(), work()))
    assert ended == ["work"]


@pytest.mark.parametrize("error", [TerminationSignal(signal.SIGTERM), BaseExceptionGroup("", [TerminationSignal(signal.SIGTERM)])])
def test_a_termination_cancels_the_run_of_the_step(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Api:
        def call(self, _method: str, path: str, body: object, **_: object) -> None:
            calls.append((path, body))

    monkeypatch.setattr(run_job, "api", lambda environment: Api() if environment is os.environ else None)
    step = uuid4()
    with pytest.raises(type(error)), run_job._cancel_on_stop(step):
        raise error
    ((path, body),) = calls
    assert (path, body["state"]["type"]) == (f"/flow_runs/{step}/set_state", "CANCELLING")
