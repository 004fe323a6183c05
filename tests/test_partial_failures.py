"""A request that fails for good does not stop the others; one that may succeed later ends the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobkit.errors import AuthError, BadDataError, JobError, TemporaryError
from jobkit.http import NoDataError, ResourceNotFoundError
from jobkit.lake import Lake

from tests.test_shrinking import TIINGO, Place, tiingo

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = ("ticker=A/year=2013",), ("ticker=B/year=2013",)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "lake"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(ResourceNotFoundError("the vendor knows no A"), 2, id="a name that the vendor does not know"),
        pytest.param(BadDataError("A sends more bytes than this job has the memory for"), 65, id="a response that is too large"),
        pytest.param(b"<html>", 65, id="another document"),
    ],
)
def test_the_others_are_committed_and_the_run_ends_with_its_error(place: Place, answer: bytes | JobError, code: int) -> None:
    job = place.extract(TIINGO, (FIRST, answer), (SECOND, tiingo("2013-01-02")))
    assert [job.outcomes[partition]["outcome"] for (partition,) in (FIRST, SECOND)] == ["failed", "committed"]
    error = job.outcomes["error"]["is"]
    assert (error.exit_code, str(error)) == (code, job.outcomes[FIRST[0]]["reason"])
    assert Lake(place.url).partitions("tiingo_prices") == [*SECOND]


def test_missing_rows_come_before_other_errors_as_a_retry_may_bring_them(place: Place) -> None:
    place.extract(TIINGO, (SECOND, tiingo("2013-01-02", "2013-01-03")))
    job = place.extract(TIINGO, (FIRST, ResourceNotFoundError("the vendor knows no A")), (SECOND, tiingo("2013-01-02")))
    error = job.outcomes["error"]["is"]
    assert (error.exit_code, job.outcomes[FIRST[0]]["outcome"]) == (75, "failed")
    assert str(error).endswith("(and 1 more partitions, see the receipt)")


def test_what_the_vendor_calls_empty_is_no_error(place: Place) -> None:
    job = place.extract(TIINGO, (FIRST, NoDataError("A has no prices")), (SECOND, tiingo("2013-01-02")))
    assert [job.outcomes[partition]["outcome"] for (partition,) in (FIRST, SECOND)] == ["skipped", "committed"]
    assert "error" not in job.outcomes


@pytest.mark.parametrize("error", [TemporaryError("the vendor is busy"), AuthError("the vendor refused the token")])
def test_a_vendor_that_refuses_ends_the_run(place: Place, error: JobError) -> None:
    job = place.extract(TIINGO, (FIRST, error), (SECOND, tiingo("2013-01-02")))
    assert job.outcomes == {"error": {"is": error}}
