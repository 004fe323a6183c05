"""The command `finelt erase`: count, erase place by place, count again. It fails if anything is left.

The order matters. The lake comes first, or a load would bring the rows back; then the warehouse, then the marts that are made of it, then
the site that is made of those. A run that is killed is run again: each step finds what is left for it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from jobkit.errors import BadDataError, UsageError
from jobkit.stores import open_store
from jobkit.version import version_option

from finelt.erasure import drop as drops
from finelt.erasure import lake as lakes
from finelt.erasure import record, warehouse
from finelt.erasure import site as sites
from finelt.erasure.subject import Subject
from finelt.job_errors import exit_on_job_error
from finelt.job_process import run_job
from finelt.job_roles import LOADER, PASSWORD_OPTION, TRANSFORMER, WAREHOUSE_OPTION
from finelt.lake_location import open_lake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.lake import Lake
    from jobkit.stores import Store

    from finelt.erasure.lake import LakeScan
    from finelt.erasure.record import Erasure
    from finelt.erasure.warehouse import WarehouseScan

HELP = """Erase a person or an account: all rows of a dataset whose COLUMN has VALUE, in every version and place, and prove it.

Without --apply, show what would be erased. Name every place that has the data: the lake, each warehouse that is loaded from it, the site,
the drop. If it is interrupted, run it again. Exit code 65 if anything is left.
"""


@dataclass(frozen=True)
class Places:
    """Where to erase: the lake, and the warehouse, site and drop if they are named."""

    lake: Lake
    warehouse: str | None
    password: str
    site: Store | None
    drop: Store | None


@click.command(help=HELP)
@version_option()
@click.argument("what", metavar="COLUMN=VALUE")
@click.option("--dataset", required=True, help="The dataset, such as custodian_positions.")
@click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: a directory or s3://bucket/prefix.")
@WAREHOUSE_OPTION
@PASSWORD_OPTION
@click.option("--site", metavar="URL", envvar="FINELT_SITE", help="The published site: a directory or s3://bucket/prefix.")
@click.option("--drop", metavar="URL", envvar="FINELT_DROP", help="The drop of extract-dropped-files: a directory or s3://bucket/prefix.")
@click.option("--asked-by", metavar="WHO", help="Who asked for it, such as a ticket; required with --apply, and kept in the record.")
@click.option("--apply", "is_applied", is_flag=True, help="Erase. Without it, nothing is changed.")
def main(
    what: str,
    dataset: str,
    lake: str,
    warehouse: str | None,
    password: str,
    site: str | None,
    drop: str | None,
    asked_by: str | None,
    *,
    is_applied: bool,
) -> None:
    """Erase, or show what would be erased."""
    with exit_on_job_error("erase"):
        subject = parse_subject(dataset, what)
        if is_applied and not asked_by:
            raise UsageError("who asked for the erasure? Give --asked-by, such as a name or the number of a ticket; the record keeps it")
        store = open_lake(lake)
        if dataset not in store.datasets():
            raise UsageError(f"no dataset {dataset} in the lake {store.store.url}; it has {', '.join(store.datasets())}")
        places = Places(store, warehouse, password, open_store(site) if site else None, open_store(drop) if drop else None)
        before = count(places, subject)
        if not is_applied:
            _report(before)
            click.echo("nothing was changed; --apply erases it" if any(before.values()) else "nothing has this value")
            return
        left, erasure = erase(places, subject, asked_by or "", before)
        _report(before, left)
        if any(left.values()):
            places_left = ", ".join(f"{number:,} {name}" for name, number in left.items() if number)
            raise BadDataError(f"the value is not erased everywhere, as {places_left} are left; {_advise(left)}")
        click.echo(f"nothing is left; {store.store.uri(erasure.key)} is the record" if erasure else "nothing had this value")


def parse_subject(dataset: str, what: str) -> Subject:
    """Parse COLUMN=VALUE. Raises UsageError, which does not repeat the value."""
    column, separator, value = what.partition("=")
    if not (separator and column and value.strip()):
        raise UsageError("expected COLUMN=VALUE, such as account=ACC-17, with a column and a value")
    return Subject(dataset, column, value)


def count(places: Places, subject: Subject) -> dict[str, int]:
    """Count what has the value, by place."""
    counts = lakes.scan(places.lake, subject, _find_pending(places, subject)).counts
    if places.warehouse:
        counts |= _scan_warehouse(places, subject).counts
    counts |= sites.scan(places.site, subject).counts if places.site else {}
    return counts | (drops.scan(places.drop, subject).counts if places.drop else {})


def erase(places: Places, subject: Subject, asked_by: str, before: Mapping[str, int]) -> tuple[dict[str, int], Erasure | None]:
    """Erase the value in every place. Return what is left, by place, and the record; None if there was nothing to erase.

    Raises what the places raise, TemporaryError (75) if other jobs are in the way.
    """
    erasure = record.find_open(places.lake.store, subject)
    if erasure is None and not any(before.values()):
        return dict(before), None
    erasure = erasure or record.begin(places.lake.store, subject, asked_by, _now())

    def remember(documents: Sequence[str]) -> Sequence[str]:
        nonlocal erasure
        known = erasure.pending if erasure else ()
        if erasure and set(documents) - set(known):
            erasure = replace(erasure, pending=sorted({*known, *documents}))
            record.write(places.lake.store, erasure)
        return erasure.pending if erasure else ()

    found = lakes.erase(places.lake, subject, remember)
    counts = dict(found.counts)
    if places.warehouse:
        counts |= _erase_from_warehouse(places, subject, found).counts
    counts |= sites.erase(places.site, subject).counts if places.site else {}
    counts |= drops.erase(places.drop, subject).counts if places.drop else {}
    left = {name: counts.get(name, 0) for name in {**before, **counts}}
    if not any(left.values()):
        erased = {name: number for name, number in before.items() if number}
        erasure = replace(erasure, pending=(), erased=erasure.erased or erased, ended_at=_now())
        record.write(places.lake.store, erasure)
        places.lake.store.erase_old_versions(f"raw/{subject.dataset}/{record.FOLDER}/", lambda _: True)  # of records: they had `pending`
    return left, erasure


def _find_pending(places: Places, subject: Subject) -> Sequence[str]:
    erasure = record.find_open(places.lake.store, subject)
    return erasure.pending if erasure else ()


def _scan_warehouse(places: Places, subject: Subject) -> WarehouseScan:
    with ExitStack() as stack:
        loader, transformer = (
            stack.enter_context(warehouse.connect(places.warehouse or "", places.password, job)) for job in (LOADER, TRANSFORMER)
        )
        return warehouse.scan(loader, transformer, subject)


def _erase_from_warehouse(places: Places, subject: Subject, found: LakeScan) -> WarehouseScan:
    """Erase from the raw tables, and build the marts again if one of them has the value. Return what is left."""
    with ExitStack() as stack:
        loader, transformer = (
            stack.enter_context(warehouse.connect(places.warehouse or "", places.password, job)) for job in (LOADER, TRANSFORMER)
        )
        warehouse.erase(loader, transformer, subject, found.rewritten, places.lake.partitions(subject.dataset))
    left = _scan_warehouse(places, subject)
    if not left.is_built:
        return left
    run_job(TRANSFORMER, ["--warehouse", str(places.warehouse), "--warehouse-password", places.password])
    return _scan_warehouse(places, subject)


def _report(before: Mapping[str, int], after: Mapping[str, int] | None = None) -> None:
    """Print the counts by place: before, and after if something was erased."""
    after = after or {}
    names = sorted({**before, **after}, key=[*before, *after].index)
    width = max(map(len, names))
    for name in names:
        number = f"{before.get(name, 0):>12,}"
        click.echo(f"{name:{width}}{number}{f' -> {after.get(name, 0):,}' if after else ''}")


def _advise(left: Mapping[str, int]) -> str:
    if left.get("files of the drop that wait"):
        return "take the waiting files out of the drop, or let them be loaded, and run this again"
    return "another job may have written them meanwhile: run this again"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
