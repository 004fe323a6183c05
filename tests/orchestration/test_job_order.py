"""What runs after the extracts follows from the declarations of the jobs, with any catalogue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jobs.catalogue import catalogue
from orchestration.job_order import list_builders, list_loaders
from orchestration.runtime import downstream
from tests.test_catalogue import DECLARED, job

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from jobs.catalogue import JobSpec


def specs(folder: Path, **declared: tuple[list[str], list[str]]) -> tuple[JobSpec, ...]:
    """A catalogue of jobs that read and write these datasets."""
    (folder / "jobs").mkdir()
    for name, (reads, writes) in declared.items():
        job(folder / "jobs", name.replace("_", "-"), f"{DECLARED}reads = {reads!r}\nwrites = {writes!r}\n")
    return catalogue(folder / "jobs")


def test_our_jobs_are_loaded_transformed_and_published_in_this_order() -> None:
    assert list_loaders(catalogue()) == ["load-warehouse"]
    assert list_builders(catalogue()) == ["transform-warehouse", "publish-marts"]


def test_no_mart_waits_for_iceberg_tables(tmp_path: Path) -> None:
    found = specs(tmp_path, extract_files=([], ["raw/files"]), register_tables=(["raw/*"], ["iceberg"]))
    assert (list_loaders(found), list_builders(found)) == ([], [])


def test_the_order_of_foreign_jobs_follows_from_their_datasets(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        a_reports=(["warehouse/facts"], ["site"]),
        b_facts=(["warehouse/raw"], ["warehouse/facts"]),
        copy_files=(["raw/*"], ["warehouse/raw"]),
        extract_files=(["drop"], ["drop", "raw/files"]),
    )
    assert list_loaders(found) == ["copy-files"]
    assert list_builders(found) == ["b-facts", "a-reports"]


def test_a_catalogue_of_extracts_has_no_later_jobs(tmp_path: Path) -> None:
    found = specs(tmp_path, extract_files=([], ["raw/files"]))
    assert (list_loaders(found), list_builders(found)) == ([], [])
    asyncio.run(downstream.load(["files"], {"lake": "L"}, found))
    asyncio.run(downstream.build({"lake": "L"}, found))


def test_a_later_job_gets_the_options_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = specs(tmp_path, copy_files=(["raw/*"], ["warehouse/raw"]), facts=(["warehouse/raw"], ["warehouse/facts"]))
    started: list[tuple[str, dict[str, Any]]] = []

    async def read_option_names(name: str) -> frozenset[str]:
        return frozenset({"lake", "dataset"} if name == "copy-files" else {"warehouse"})

    async def run_job(name: str, **options: object) -> dict[str, Any]:
        started.append((name, options))
        return {"details": {}}

    monkeypatch.setattr(downstream, "read_option_names", read_option_names)
    monkeypatch.setattr(downstream, "run_job", run_job)
    places = {"lake": "L", "warehouse": "W", "docs": "D"}
    asyncio.run(downstream.load(["files"], places, found))
    asyncio.run(downstream.build(places, found))
    assert started == [("copy-files", {"lake": "L", "dataset": ["files"]}), ("facts", {"warehouse": "W"})]
    started.clear()
    asyncio.run(downstream.load(["a", "b", "c"], places, found, loaders=2))
    assert [options["dataset"] for _, options in started] == [["a", "c"], ["b"]]
