"""The jobs that the flow `daily` runs where there is no drop folder, without those that run only if a person asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.catalogue import DROP, ICEBERG, catalogue
from orchestration.local.sample_parameters import build_sample_extracts

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES = build_sample_extracts("", "")
ON_REQUEST = {spec.name for spec in catalogue() if spec.name.startswith("extract-") and DROP not in spec.reads and spec.name not in SAMPLES}
DAILY = [spec for spec in catalogue() if DROP not in spec.reads and ICEBERG not in spec.writes and spec.name not in ON_REQUEST]


def drop_commit_times(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of published marts by name, without the time of its commit that a quarantined row has in the last column."""
    rows = files["fct_quarantine.csv"].splitlines()
    assert len(rows) > 1, "the demo has a quarantined row"
    others = {name: content for name, content in files.items() if not name.startswith("fct_quarantine.")}
    return {**others, "fct_quarantine": b"\n".join(row.rpartition(b",")[0] for row in rows)}
