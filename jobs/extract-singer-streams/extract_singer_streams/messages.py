"""Read the lines of a tap's output.

Source: https://hub.meltano.com/singer/spec
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from jobkit import lossless_json
from jobkit.errors import BadDataError, MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

STDOUT = "a tap writes one Singer message per line to stdout, and logs to stderr"


class Schema(NamedTuple):
    """The columns and the key of a stream's records that follow."""

    stream: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


class Record(NamedTuple):
    """A record as the tap wrote it, and the version of the table that it belongs to, if any."""

    stream: str
    body: bytes
    version: int | None


class State(NamedTuple):
    """Where the tap goes on after the records before this message. Its form is the tap's own."""

    value: str


class ActivateVersion(NamedTuple):
    """All records of other versions of the stream are gone."""

    stream: str
    version: int


class Unwanted(NamedTuple):
    """A message of a stream that is not stored, whatever is in it."""

    stream: str


Message = Schema | Record | State | ActivateVersion | Unwanted


def parse(line: bytes, number: int, wanted: Collection[str] | None = None) -> Message:
    """Return the message in a line of the output. `wanted` are the streams whose messages are read; None for all.

    Raises BadDataError (65) for anything else, MisconfiguredError (78) for a batch.
    """
    what = f"line {number} of the tap's output"
    try:
        fields = lossless_json.decode(line, what, dict[str, msgspec.Raw], "a JSON object")
    except BadDataError as error:
        raise BadDataError(f"{error}; {STDOUT}: report it to the tap's maintainers") from None
    kind = _read(fields, "type", str, what)
    if kind not in (*PARSERS, "BATCH"):
        raise BadDataError(f"{what} has the type {kind!r}; expected {', '.join(PARSERS)}")
    if kind != "STATE" and wanted is not None and (stream := _read(fields, "stream", str, what)) not in wanted:
        return Unwanted(stream)
    if kind == "BATCH":
        raise MisconfiguredError(f"{what} names a file of records (BATCH), which is not read; remove batch_config from the tap's config")
    return PARSERS[kind](fields, what)


def _parse_schema(fields: dict[str, msgspec.Raw], what: str) -> Schema:
    stream, schema = _read(fields, "stream", str, what), _read(fields, "schema", dict[str, Any], what)
    columns, key = schema.get("properties"), _read(fields, "key_properties", list[str] | None, what, optional=True)
    if not isinstance(columns, dict) or not columns:
        raise BadDataError(f"{what}, the SCHEMA of {stream!r}, has no properties; expected one for each column: look at the tap's catalog")
    return Schema(stream, tuple(columns), tuple(key or ()))


def _parse_record(fields: dict[str, msgspec.Raw], what: str) -> Record:
    version = _read(fields, "version", int | None, what, optional=True)
    _read(fields, "record", dict[str, msgspec.Raw], what)
    return Record(_read(fields, "stream", str, what), bytes(fields["record"]), version)


def _parse_state(fields: dict[str, msgspec.Raw], what: str) -> State:
    _read(fields, "value", Any, what)
    return State(bytes(fields["value"]).decode())


def _parse_version(fields: dict[str, msgspec.Raw], what: str) -> ActivateVersion:
    return ActivateVersion(_read(fields, "stream", str, what), _read(fields, "version", int, what))


PARSERS: dict[str, Callable[[dict[str, msgspec.Raw], str], Message]] = {
    "SCHEMA": _parse_schema,
    "RECORD": _parse_record,
    "STATE": _parse_state,
    "ACTIVATE_VERSION": _parse_version,
}


def _read(fields: dict[str, msgspec.Raw], name: str, kind: Any, what: str, *, optional: bool = False) -> Any:  # noqa: ANN401  JSON
    if name not in fields:
        if optional:
            return None
        raise BadDataError(f"{what} has no {name}; {STDOUT}")
    try:
        return msgspec.json.decode(fields[name], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadDataError(f"{what} has another {name} than a Singer message: {error}") from None
