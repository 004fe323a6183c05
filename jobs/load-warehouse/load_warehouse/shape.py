"""The shape of a raw table: the types of its columns, its key and its leaf. They are those of the dataset's newest commit.

So the lake alone decides the shape, and a warehouse that is loaded from nothing has that of one that was reloaded (`reload`). Older
commits are converted to it when they are loaded. A commit of another shape is refused if the table has not the newest shape either: then
the table has to be reloaded first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import BadDataError, MisconfiguredError

from load_warehouse import partitioning, tables, types
from load_warehouse.copy import ParquetFile

if TYPE_CHECKING:
    from jobkit.lake import Commit, Lake

    from load_warehouse.partitioning import Scheme
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns


class Shape(NamedTuple):
    """Columns with their Postgres types, key and leaf of a table, and where they come from."""

    columns: Columns
    key: tuple[str, ...]
    leaf: str
    where: str


def find_newest(session: Session, lake: Lake, dataset: str) -> Commit | None:
    """Return the commit of a dataset that was the newest when the session first asked; None if there was none.

    A lake that finelt 0.2 or older wrote has no log, so that the answer takes a read of every partition.
    """
    if dataset not in session.newest:
        session.newest[dataset] = lake.find_newest_commit(dataset)
    newest: Commit | None = session.newest[dataset]
    return newest


def read_newest(session: Session, lake: Lake, dataset: str) -> Shape | None:
    """Return the shape of the commit that `find_newest` finds; None if there is none that can be loaded."""
    commit = find_newest(session, lake, dataset)
    if commit is None:
        return None
    known: Shape | None = session.shapes.get(dataset)
    if known is None or known.where != describe(commit):
        try:
            known = read_shape(commit, ParquetFile(lake.read(commit.data), describe(commit), session.policy.batch_rows))
        except BadDataError:
            return None
        session.shapes[dataset] = known
    return known


def read_shape(commit: Commit, file: ParquetFile) -> Shape:
    """Return the shape of one commit. Raises BadDataError (65) if its leaf is invalid."""
    return Shape(file.columns, commit.key, partitioning.parse_expression(commit.leaf, file.where).text, describe(commit))


def describe(commit: Commit) -> str:
    """Return a commit as messages name it."""
    return f"{commit.dataset}/{commit.partition} commit {commit.number}"


def fit_file(session: Session, lake: Lake, commit: Commit, file: ParquetFile) -> tuple[ParquetFile, Columns, Scheme]:
    """Return a commit's file in the shape of the raw table, the table's columns, and how it is partitioned.

    Creates the table in the shape of the newest commit, or adds columns to it. Raises BadDataError (65) if the commit has other types than
    the table and is not merely older, MisconfiguredError (78) if it has another leaf.
    """
    own, table = read_shape(commit, file), tables.read_columns(session, commit.dataset, file.where)
    leaf = own.leaf if table is None else tables.read_leaf(session, commit.dataset)
    if table is None or leaf != own.leaf or find_changed_types(own.columns, table):
        newest = read_newest(session, lake, commit.dataset) or own
        if table is None:
            leaf = newest.leaf
        elif leaf != newest.leaf or find_changed_types(newest.columns, table):
            raise _shape_error(commit.dataset, own, table, leaf)
        file = file.convert(newest.columns if table is None else table)
        wanted = {**newest.columns, **file.columns} if table is None else file.columns
    else:
        wanted = file.columns
    scheme = partitioning.parse_scheme(leaf, file.columns, file.where)
    columns = tables.ensure_table(session, commit.dataset, table, wanted, scheme, file.where)
    if find_changed_types(file.columns, columns):  # another loader made the table meanwhile
        raise _shape_error(commit.dataset, own, columns, leaf)
    return file, columns, scheme


def find_changed_types(columns: Columns, table: Columns) -> list[str]:
    """Return the columns that have another type in the table."""
    return [name for name, kind in columns.items() if name in table and types.differs(kind, table[name])]


def _shape_error(dataset: str, own: Shape, table: Columns, leaf: str) -> BadDataError | MisconfiguredError:
    if changed := find_changed_types(own.columns, table):
        name = changed[0]
        return BadDataError(
            f"{own.where}: column {name!r} is {types.strip_collation(own.columns[name])} in the file and "
            f"{types.strip_collation(table[name])} in raw.{dataset}; nothing was copied. If its type was changed on purpose, "
            f"{reload_advice(dataset)}"
        )
    return MisconfiguredError(
        f"{own.where}: raw.{dataset} is partitioned by {leaf}, but the commit requires {own.leaf}; {reload_advice(dataset)}"
    )


def describe_repeated_key(where: str, key: tuple[str, ...], own: tuple[str, ...], advice: str | None = None) -> str:
    """Return why a commit is refused whose rows are unique by its own key, but not by the table's."""
    advice = advice or "name a key in the contract that is unique in every commit"
    return f"{where}: two rows have the same {', '.join(key)}, the key of the table, while the commit's key is {', '.join(own)}; {advice}"


def reload_advice(dataset: str) -> str:
    """Return what to do when the raw table has another shape than the newest commit."""
    return f"run `finelt reload {dataset}`, which loads all of its commits again: the lake has all data"
