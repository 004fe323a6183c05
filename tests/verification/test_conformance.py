"""scripts/conformance on our own images, and on one that keeps no promise."""

from __future__ import annotations

import pytest

from images import plan
from jobs.catalogue import JobSpec, catalogue
from tests.images.test_images import build_environment, image
from verification import conformance
from verification.conformance import Subject
from verification.sample_vendors import server

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("spec", catalogue(), ids=lambda spec: spec.name)
def test_every_image_of_ours_keeps_what_can_be_tried_on_it_alone(spec: JobSpec) -> None:
    found = list(conformance.report(Subject(image(spec), (), ())))
    assert [line for kept, line in found if not kept] == []
    assert len(found) == len(conformance.ALWAYS)


def test_an_extractor_does_its_work_once_stops_and_survives_being_killed_at_each_step() -> None:
    (spec,) = (spec for spec in catalogue() if spec.name == "extract-treasury-yields")
    with server.serving() as vendors:
        options = {"lake": "{place}/lake", "start": "2012-01-01", "end": "2012-12-31", "base-url": f"{vendors}/home.treasury.gov"}
        words = tuple(word for name, value in options.items() for word in (f"--{name}", value))
        found = list(conformance.report(Subject(image(spec), ("--network", "host"), words)))
    assert [line for kept, line in found if not kept] == []
    assert "kills at 9 steps" in found[-1][1]


def test_an_image_that_is_no_job_is_told_what_it_breaks() -> None:
    base = build_environment().python_image or plan.read_default_base(plan.read_checkout())
    found = list(conformance.report(Subject(base, (), ())))
    assert [kept for kept, _ in found] == [False] * len(conformance.ALWAYS)
