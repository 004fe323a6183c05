"""Catalogues of other companies: jobs that this repository does not have."""

from __future__ import annotations

from pathlib import Path

from jobs.catalogue import JobSpec


def make_job(number: int, **declared: object) -> JobSpec:
    """Return an extract job of a vendor that nobody knows, with a long name, two secrets and a schedule."""
    name = f"extract-vendor{number}-instrument-rates"
    fields: dict[str, object] = {
        "version": "1.0.0",
        "description": "Rates of a vendor.",
        "cpu": 256,
        "memory": 512,
        "deadline_s": 900,
        "schedule": "0 6 * * 1-5",
        "secrets": ("token", "warehouse_password"),
        "writes": (f"raw/vendor{number}_rates",),
    }
    return JobSpec(name=name, folder=Path("/nowhere") / name, **{**fields, **declared})  # type: ignore[arg-type]


def make_catalogue(size: int) -> tuple[JobSpec, ...]:
    """Return a catalogue of foreign jobs."""
    return tuple(make_job(number) for number in range(size))
