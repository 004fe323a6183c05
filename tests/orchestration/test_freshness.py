"""The event about late datasets: one for each receipt that lists any, and never a reason for the flow to fail."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from jobkit.prefect_api import UnreachableError

from orchestration.deployments import notifications
from orchestration.runtime import freshness

if TYPE_CHECKING:
    import pytest

LATE = [
    {"dataset": "ecb_fx_rates", "last_date": "2013-02-28", "latency_days": 5, "days_late": 3},
    {"dataset": "sec_filers", "last_date": None, "latency_days": 30, "days_late": 1},
]


class Api:
    """Record what is posted, or be unreachable."""

    def __init__(self, *, is_reachable: bool) -> None:
        self.sent: list[Any] = []
        self.is_reachable = is_reachable

    def call(self, method: str, path: str, body: Any, **_: Any) -> None:
        if not self.is_reachable:
            raise UnreachableError("no answer")
        self.sent.append((method, path, body))


def report(monkeypatch: pytest.MonkeyPatch, details: dict[str, Any], *, is_reachable: bool = True) -> list[Any]:
    api = Api(is_reachable=is_reachable)
    monkeypatch.setattr(freshness, "api", lambda _: api)
    monkeypatch.setattr(freshness, "get_run_logger", lambda: logging.getLogger("freshness"))
    asyncio.run(freshness.report_late_datasets({"details": details}))  # type: ignore[typeddict-item]
    return api.sent


def test_late_datasets_are_one_event_that_the_automation_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    ((method, path, (event,)),) = report(monkeypatch, {"late": LATE})
    assert (method, path) == ("POST", "/events")
    trigger = notifications.build_late_data_automation("block")["trigger"]
    assert trigger["expect"] == [event["event"]]
    assert trigger["match"] == {"prefect.resource.id": event["resource"]["prefect.resource.id"]}
    assert event["resource"]["prefect.resource.name"] == "2 datasets are late"
    assert event["resource"]["finelt.late"] == "ecb_fx_rates by 3 days (last day 2013-02-28), sec_filers by 1 day (last day unknown)"


def test_without_late_datasets_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report(monkeypatch, {}) == report(monkeypatch, {"late": []}) == []


def test_a_lost_event_is_logged_and_fails_no_flow(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert report(monkeypatch, {"late": LATE}, is_reachable=False) == []
    assert "was not sent" in caplog.text
