"""The order of jobs, which follows from the datasets that they declare to read and write."""

from __future__ import annotations

from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from jobs.catalogue import ICEBERG, LAKE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.catalogue import JobSpec


def order_jobs(specs: Sequence[JobSpec]) -> dict[str, tuple[str, ...]]:
    """Return the jobs in the order of their data, each with the jobs that it waits for directly."""
    before = {spec.name: {other.name for other in specs if other is not spec and _feeds(other, spec)} for spec in specs}
    order = list(TopologicalSorter({name: sorted(before[name]) for name in sorted(before)}).static_order())
    ancestors: dict[str, set[str]] = {}
    for name in order:
        ancestors[name] = before[name].union(*(ancestors[parent] for parent in before[name]))
    return {
        name: tuple(sorted(parent for parent in before[name] if not any(parent in ancestors[other] for other in before[name])))
        for name in order
    }


def list_loaders(specs: Sequence[JobSpec]) -> list[str]:
    """Return the jobs that read the lake, in the order of their data. They run for the datasets of each extract."""
    loaders = {spec.name for spec in specs if _is_downstream(spec) and any(dataset.startswith(LAKE) for dataset in spec.reads)}
    return [name for name in order_jobs(specs) if name in loaders]


def list_builders(specs: Sequence[JobSpec]) -> list[str]:
    """Return the jobs that read what loaders wrote, in the order of their data. They run once, after all loads."""
    loaders = list_loaders(specs)
    builders = {spec.name for spec in specs if _is_downstream(spec) and spec.reads and spec.name not in loaders}
    return [name for name in order_jobs(specs) if name in builders]


def _is_downstream(spec: JobSpec) -> bool:
    """Whether a job follows the extracts in the flow. Extracts write the lake; Iceberg tables are registered apart: no mart needs them."""
    return not any(dataset.startswith(LAKE) or dataset == ICEBERG for dataset in spec.writes)


def _feeds(writer: JobSpec, reader: JobSpec) -> bool:
    return any(fnmatchcase(dataset, pattern) for dataset in writer.writes for pattern in reader.reads)
