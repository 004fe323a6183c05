"""The datasets that are late by their contract, from the mart fct_freshness. Every run records them, also one that has nothing to build."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.command import Job

    from transform_warehouse.build_log import BuildLog

_IS_THERE = """
select count(*) > 0 as is_there from pg_attribute where attrelid = to_regclass('marts.fct_freshness') and attname = 'days_late'
"""
_LATE = "select dataset, last_date::text, latency_days, days_late from marts.fct_freshness where days_late > 0 order by dataset"


def record_late_datasets(job: Job, build_log: BuildLog) -> None:
    """Write the late datasets to the receipt (`details.late`) and to the log. They fail no run: the marts are as good as their data."""
    if not build_log.execute(_IS_THERE)[0]["is_there"]:
        return
    job.details["late"] = [dict(row) for row in build_log.execute(_LATE)]
    for late in job.details["late"]:
        job.log.warning("late", extra=late)
