"""Read the content of a lake or a site, to compare it with another run's.

Timestamps are left out, because they differ between two runs that did the same. For warehouses see `finelt.table_digests`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import stores
from jobkit.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path

State = dict[str, Any]


def read_lake(url: str | Path) -> State:
    """Read every commit of a lake and check its files. Raises BadDataError for a damaged file."""
    lake = Lake(str(url))
    state: State = {}
    for dataset in lake.datasets():
        for partition in lake.partitions(dataset):
            history = lake.history(dataset, partition)
            for commit in history:
                for file in commit.files:
                    lake.read(file)
            state[f"{dataset}/{partition}"] = [
                {name: value for name, value in msgspec.to_builtins(commit).items() if name not in ("known_at", "source")}
                | {"sources": len(commit.source)}  # only the number: some vendors number their responses, so the bytes differ
                for commit in history
            ]
    return state


def read_site(url: str | Path) -> State:
    """Hash every file of a site, without the timestamps of the pointer, of the versions and of the manifest."""
    store = stores.open_store(str(url))
    state: State = {key: hashlib.sha256(store.get(key)).hexdigest() for key in store.list_keys("") if key != "latest.json"}
    state.update({key: "dated" for key in state if key.endswith("/published.json")})
    if (manifest := "latest/manifest.json") in state:
        state[manifest] = json.dumps({**json.loads(store.get(manifest)), "published_at": "dated"}, sort_keys=True)
    if store.exists("latest.json"):
        pointer = json.loads(store.get("latest.json"))
        state["latest.json"] = (pointer["version"], pointer["content"])
    return state


def read_iceberg(lake: Path) -> State:
    """Read the tables of a lake's own catalogue: the time and the commits of each snapshot, and the files of the current one."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow

    catalog = load_catalog("finelt", type="sql", uri=f"sqlite:///{lake}/iceberg/catalog.db")
    state: State = {}
    for name in catalog.list_tables("raw"):
        table = catalog.load_table(name)
        state[".".join(name)] = (
            [(one.timestamp_ms, one.summary and one.summary["finelt.commits"]) for one in table.snapshots()],
            sorted(task.file.file_path.rpartition("/")[2] for task in table.scan().plan_files()),
        )
    return state
