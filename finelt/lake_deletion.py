"""Delete a file of a lake while writers may commit: a writer may name it again at that moment, because files are named by their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobkit.stores import NotFoundError

if TYPE_CHECKING:
    from jobkit.lake import Lake


class LogState(NamedTuple):
    """A dataset's log before the deletion began: the last entry, and the partitions whose announced commits were not there yet."""

    last: int
    announced: frozenset[str]


def read_log_state(lake: Lake, dataset: str) -> LogState:
    """Return what has to be known before a deletion begins."""
    numbers = lake.log.recent_numbers(dataset)
    entries = [entry for number in numbers if (entry := lake.log.read(dataset, number))]
    latest = {partition: lake.latest_number(dataset, partition) or 0 for partition in {entry.partition for entry in entries}}
    return LogState(numbers.stop - 1, frozenset(entry.partition for entry in entries if latest[entry.partition] < entry.commit))


def delete_file(lake: Lake, dataset: str, path: str, before: LogState) -> None:
    """Delete a file, unless a commit that was made since `before` names it. Write it again if one does afterwards."""
    if path in _list_new_files(lake, dataset, before):
        return
    try:
        data = lake.store.get(path)
    except NotFoundError:
        return
    is_named = True  # if we cannot find out
    try:
        lake.store.erase(path, lambda key: key == path)
        is_named = path in _list_new_files(lake, dataset, before)
    finally:
        if is_named:
            lake.store.put(path, data)


def _list_new_files(lake: Lake, dataset: str, before: LogState) -> set[str]:
    """Return the files of the partitions in which commits may have been made since `before`."""
    entries = (lake.log.read(dataset, number) for number in lake.log.list_after(dataset, before.last))
    partitions = before.announced | {entry.partition for entry in entries if entry}
    heads = [commit for partition in partitions for commit in lake.examine(dataset, partition).commits.values()]
    return {file.path for commit in heads for file in commit.files}
