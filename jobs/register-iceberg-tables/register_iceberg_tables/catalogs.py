"""Opens the catalogue of the Iceberg tables. What else a catalogue needs is pyiceberg's own: PYICEBERG_CATALOG__FINELT__<PROPERTY>."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import url2pathname

from jobkit.errors import MisconfiguredError, UsageError

if TYPE_CHECKING:
    from jobkit.lake import Lake
    from pyiceberg.catalog import Catalog

NAME = "finelt"
FOLDER = "iceberg"  # below the lake: the tables' metadata; never data


def open_catalog(lake: Lake, catalog: str) -> Catalog:
    """Return the catalogue. Raises UsageError (2) for sqlite without a path if the lake is no directory, MisconfiguredError (78)."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow

    warehouse = lake.store.uri(FOLDER)
    if catalog == "glue":
        return load_catalog(NAME, type="glue", warehouse=warehouse)
    path = _sqlite_path(lake, catalog)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MisconfiguredError(f"{path.parent} cannot be created: {error.strerror}; correct --catalog") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise MisconfiguredError(f"{path} cannot be written; correct --catalog or the permissions")
    return load_catalog(NAME, type="sql", uri=f"sqlite:///{path}", warehouse=warehouse)


def _sqlite_path(lake: Lake, catalog: str) -> Path:
    _, _, path = catalog.partition(":///")
    if path:
        return Path(path)
    if not lake.store.url.startswith("file:"):
        raise UsageError(f"the lake {lake.store.url} is no directory, so --catalog sqlite needs a path: sqlite:////path/catalog.db, or glue")
    return Path(url2pathname(lake.store.uri(f"{FOLDER}/catalog.db").removeprefix("file://")))
