"""A store in S3: lost responses, conflicts and retries."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.stores import S3Store
from jobkit.stores.s3 import MAX_RETRY_AFTER_S, REQUEST_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the seconds between attempts instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", slept.append)
    return slept


def error_response(status: int, code: str, headers: Mapping[str, str]) -> AWSResponse:
    class Raw:
        def stream(self, **_: Any) -> list[bytes]:
            return [f"<Error><Code>{code}</Code></Error>".encode()]

    return AWSResponse("http://s3", status, {"content-type": "application/xml", **headers}, Raw())  # type: ignore[arg-type]  it only streams


def fail_puts(
    store: S3Store, status: int, code: str, *, times: int, is_stored: bool = False, headers: Mapping[str, str] = MappingProxyType({})
) -> list[int]:
    """Make the first puts fail with this response, though the object may be stored. Returns a list with one item per attempt."""
    attempts: list[int] = []
    twin = S3Store(store.bucket, store.prefix.strip("/"))

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        attempts.append(1)
        if len(attempts) > times:
            return None
        if is_stored:
            twin.put("k", request.body.getvalue() if hasattr(request.body, "getvalue") else b"mine")
        return error_response(status, code, headers)

    store._client.meta.events.register("before-send.s3.PutObject", before_send)
    return attempts


def test_a_put_whose_response_was_lost_is_recognised_as_ours(bucket: str) -> None:
    """S3 stored the object, the response was lost, and the client's retry got 412: the object is ours."""
    store = S3Store(bucket, "p")
    attempts = fail_puts(store, 500, "InternalError", times=1, is_stored=True)
    assert store.put_if_absent("k", b"mine")
    assert len(attempts) == 2
    assert store.get("k") == b"mine"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_store_is_retried_with_growing_pauses(bucket: str, pauses: list[float], status: int) -> None:
    store = S3Store(bucket, "p")
    attempts = fail_puts(store, status, "SlowDown", times=99)
    with pytest.raises(TemporaryError):
        store.put("k", b"mine")
    assert len(attempts) == REQUEST_ATTEMPTS
    assert pauses[0] < 0.1
    assert pauses == sorted(pauses)
    assert sum(pauses) > 8


def test_the_number_of_attempts_can_be_set(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    store = S3Store(bucket, "p")
    attempts = fail_puts(store, 503, "SlowDown", times=99)
    with pytest.raises(TemporaryError):
        store.put("k", b"mine")
    assert len(attempts) == 2


def test_a_closed_connection_is_retried_soon(bucket: str, pauses: list[float]) -> None:
    store, attempts = S3Store(bucket, "p"), []

    def before_send(**_: Any) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionClosedError(endpoint_url="http://s3")

    store._client.meta.events.register("before-send.s3.PutObject", before_send)
    store.put("k", b"mine")
    assert len(attempts) == 3
    assert len(pauses) == 2
    assert sum(pauses) < 0.5


@pytest.mark.parametrize(
    ("retry_after", "min_s", "max_s"),
    [("7", 7, 7), ("900", MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S), ("Wed, 21 Oct 2026 07:28:00 GMT", 0, 0.1)],
)
def test_retry_after_is_honoured_up_to_a_limit(bucket: str, pauses: list[float], retry_after: str, min_s: float, max_s: float) -> None:
    store = S3Store(bucket, "p")
    fail_puts(store, 503, "SlowDown", times=1, headers={"retry-after": retry_after})
    store.put("k", b"mine")
    assert min_s <= pauses[0] <= max_s


def test_a_conflict_is_retried(bucket: str) -> None:
    store = S3Store(bucket, "p")
    attempts = fail_puts(store, 409, "ConditionalRequestConflict", times=2)
    assert store.put_if_absent("k", b"mine")
    assert len(attempts) == 3


def test_an_endless_conflict_is_temporary(bucket: str) -> None:
    store = S3Store(bucket, "p")
    fail_puts(store, 409, "ConditionalRequestConflict", times=99)
    with pytest.raises(TemporaryError):
        store.put_if_absent("k", b"mine")


def test_a_missing_bucket_is_misconfigured(bucket: str) -> None:
    with pytest.raises(MisconfiguredError):
        S3Store(bucket + "-not", "").put("k", b"")
