"""The Iceberg tables: that of the prices, and those of the marts, whose rows are replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.errors import BadDataError, UsageError

from finelt.lake_marts.model import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.stores.base import Store
    from pyiceberg.catalog import Catalog

PRICES, MARTS = ("raw", "tiingo_prices"), "marts"
COMMITS = "finelt.commits"  # in the summary of a snapshot; register-iceberg-tables writes it
NAME, FOLDER = "finelt", "iceberg"  # of the catalogue, and where a lake in a directory has it


def open_catalog(lake: Store, catalog: str) -> Catalog:
    """Open the catalogue of register-iceberg-tables: sqlite in the lake, sqlite:////path or glue. Raises BadDataError if there is none."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow

    warehouse = lake.uri(FOLDER)
    if catalog == "glue":
        return load_catalog(NAME, type="glue", warehouse=warehouse)
    uri = catalog if ":///" in catalog else lake.uri(f"{FOLDER}/catalog.db").replace("file:///", "sqlite:////")
    if not uri.startswith("sqlite:///"):
        raise UsageError(f"the lake {lake.url} is no directory, so --catalog must be sqlite:////path/catalog.db, or glue")
    if not Path(path := uri.removeprefix("sqlite:///")).is_file():
        raise BadDataError(f"there is no catalogue {path}; run register-iceberg-tables first")
    return load_catalog(NAME, type="sql", uri=uri, warehouse=warehouse)


def find_prices(catalog: Catalog) -> Prices:
    """Return the newest snapshot of the table of prices. Raises BadDataError if there is none."""
    from pyiceberg.exceptions import NoSuchTableError  # noqa: PLC0415

    try:
        table = catalog.load_table(PRICES)
    except (NoSuchTableError, FileNotFoundError):  # `finelt erase` deletes the metadata
        table = None
    if table is None or (snapshot := table.current_snapshot()) is None:
        raise BadDataError(f"the catalogue has no rows in {'.'.join(PRICES)}; run register-iceberg-tables first")
    commits: dict[str, int] = {}
    for one in table.snapshots():
        commits |= json.loads(one.summary.additional_properties.get(COMMITS, "{}")) if one.summary else {}
    return Prices(table.metadata_location, table.io.properties, snapshot.snapshot_id, commits)


def replace_mart(catalog: Catalog, location: str, name: str, files: Sequence[str], properties: dict[str, str]) -> None:
    """Replace all rows of a mart by those of the files, in one commit: readers see the old rows or the new ones.

    Without files, the mart has no rows; a table that does not exist is not made.
    """
    from pyarrow import parquet  # noqa: PLC0415
    from pyiceberg.expressions import AlwaysTrue  # noqa: PLC0415

    try:
        if catalog.table_exists((MARTS, name)):
            catalog.load_table((MARTS, name))
    except FileNotFoundError:  # `finelt erase` has deleted its metadata
        catalog.drop_table((MARTS, name))
    if not files:
        if catalog.table_exists((MARTS, name)):
            catalog.load_table((MARTS, name)).delete(AlwaysTrue(), snapshot_properties=properties)
        return
    catalog.create_namespace_if_not_exists(MARTS)
    with catalog._load_file_io(location=files[0]).new_input(files[0]).open() as file:  # noqa: SLF001
        schema = parquet.read_schema(file)
    table = catalog.create_table_if_not_exists((MARTS, name), schema, location=location)
    with table.transaction() as transaction:
        with transaction.update_schema() as update:
            update.union_by_name(schema)
        if table.current_snapshot() is not None:
            transaction.delete(AlwaysTrue(), snapshot_properties=properties)
        transaction.add_files(list(files), snapshot_properties=properties)
