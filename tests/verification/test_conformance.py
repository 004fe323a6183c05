"""scripts/conformance on our own images, and on an image that is not a job."""

from __future__ import annotations

import pytest

from images import plan
from jobs.catalogue import JobSpec, catalogue
from tests.images.containers import build_environment, image
from verification import conformance
from verification.conformance import Subject
from verification.sample_vendors import server

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("spec", catalogue(), ids=lambda spec: spec.name)
def test_each_image_keeps_the_promises_that_need_no_run(spec: JobSpec) -> None:
    found = list(conformance.run_checks(Subject(image(spec), (), ())))
    assert [line for holds, line in found if not holds] == []
    assert len(found) == len(conformance.IMAGE_CHECKS)


def test_an_extractor_can_be_repeated_stopped_and_killed_at_each_failpoint() -> None:
    (spec,) = (spec for spec in catalogue() if spec.name == "extract-treasury-yields")
    with server.run_server() as vendors:
        options = {"lake": "{place}/lake", "start": "2012-01-01", "end": "2012-12-31", "base-url": f"{vendors}/home.treasury.gov"}
        arguments = tuple(argument for name, value in options.items() for argument in (f"--{name}", value))
        found = list(conformance.run_checks(Subject(image(spec), ("--network", "host"), arguments)))
    assert [line for holds, line in found if not holds] == []
    assert "kills at 9 failpoints" in found[-1][1]


def test_an_image_that_is_not_a_job_breaks_every_promise() -> None:
    base = build_environment().python_image or plan.read_default_base(plan.read_checkout())
    found = list(conformance.run_checks(Subject(base, (), ())))
    assert [holds for holds, _ in found] == [False] * len(conformance.IMAGE_CHECKS)
