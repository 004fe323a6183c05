"""Flows outlive a Prefect server that is restarted or overloaded."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest
import stamina
from prefect.client.schemas import FlowRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Completed

from orchestration.runtime import run_job
from orchestration.runtime.retry import retry_while_unreachable


def answer(status: int) -> PrefectHTTPStatusError:
    """The error of Prefect's client for an answer of the server."""
    request = httpx.Request("POST", "http://prefect.example/api/flow_runs/filter")
    response = httpx.Response(status, request=request, json={"detail": "x"})
    return PrefectHTTPStatusError.from_httpx_error(httpx.HTTPStatusError("x", request=request, response=response))


def test_calls_are_retried_while_the_server_is_overloaded() -> None:
    errors: list[Exception] = [httpx.ConnectError("refused"), answer(500), answer(503)]

    @retry_while_unreachable
    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "answered"

    with stamina.set_testing(True, attempts=10):
        assert asyncio.run(call()) == "answered"


def test_a_refusal_ends_the_call() -> None:
    @retry_while_unreachable
    async def call() -> None:
        raise answer(404)

    with stamina.set_testing(True, attempts=10), pytest.raises(PrefectHTTPStatusError):
        asyncio.run(call())


@pytest.mark.parametrize("error", [httpx.ReadTimeout("slow"), answer(500)])
def test_a_step_is_followed_while_the_server_is_overloaded(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    answers: list[FlowRun | Exception] = [error, FlowRun(id=uuid4(), flow_id=uuid4(), state=Completed())]

    async def wait(*_: object, **__: object) -> FlowRun:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(run_job, "wait_for_flow_run", wait)
    monkeypatch.setattr(run_job, "PAUSE_S", 0)
    run = asyncio.run(run_job._wait_until_final(None, uuid4()))  # type: ignore[arg-type]
    assert run.state is not None
    assert run.state.is_completed()
    assert not answers
