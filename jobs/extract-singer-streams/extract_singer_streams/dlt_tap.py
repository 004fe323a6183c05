"""A Singer tap that runs a dlt source, with the Python and the dlt of the user's own environment; finelt does not depend on dlt.

    /tap/bin/python dlt_tap.py acme_source:orders --config config.json --state state.json

acme_source:orders is a source or a resource, or a function that returns one. Written for dlt 1.31, whose state of a source is one document
(https://dlthub.com/docs/general-usage/state): it is sent as Singer's STATE after all records, so that incremental cursors go on from the
commit. A resource that replaces its table sends a version of it, and activates the version at its end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def main() -> None:
    """Write the messages of a source to stdout. What the source itself prints goes to stderr."""
    arguments = read_arguments()
    stdout, sys.stdout = sys.stdout, sys.stderr

    def send(kind: str, **fields: object) -> None:
        stdout.write(json.dumps({"type": kind, **fields}, default=to_json) + "\n")

    sys.path.insert(0, str(Path.cwd()))
    set_config(json.loads(arguments.config.read_text()) if arguments.config else {})
    resources = load_resources(arguments.source)
    if arguments.discover:
        stdout.write(json.dumps({"streams": [{"stream": resource.name} for resource in resources]}) + "\n")
    else:
        state = json.loads(arguments.state.read_text()) if arguments.state else None
        send("STATE", value=run(resources, state, send))
    stdout.flush()


def read_arguments() -> argparse.Namespace:
    """Return what a tap is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", metavar="MODULE:NAME")
    for name in ("--config", "--state", "--catalog"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--discover", action="store_true")
    return parser.parse_args()


def set_config(config: dict[str, Any]) -> None:
    """Give dlt its settings, such as sources.acme.api_key, for this process."""
    import dlt  # type: ignore[import-not-found]  # noqa: PLC0415  of the other environment

    for name, value in config.items():
        dlt.secrets[name] = value


def load_resources(source: str) -> list[Any]:
    """Return the selected resources of a source."""
    module, _, name = source.partition(":")
    found = getattr(importlib.import_module(module), name)
    found = found() if not hasattr(found, "name") or not hasattr(found, "__iter__") else found
    return list(found.selected_resources.values()) if hasattr(found, "selected_resources") else [found]


def run(resources: Iterable[Any], state: str | None, send: Callable[..., None]) -> str:
    """Send the records of the resources, and return the state after them, in dlt's own form."""
    from dlt.common.configuration.container import Container  # type: ignore[import-not-found]  # noqa: PLC0415
    from dlt.common.json import json as dlt_json  # type: ignore[import-not-found]  # noqa: PLC0415
    from dlt.common.pipeline import StateInjectableContext  # type: ignore[import-not-found]  # noqa: PLC0415

    document = dlt_json.typed_loads(state) if state else {}
    with Container().injectable_context(StateInjectableContext(state=document)):
        for resource in resources:
            send_records(resource, send)
    return str(dlt_json.typed_dumps(document))


def send_records(resource: Any, send: Callable[..., None]) -> None:  # noqa: ANN401  dlt's
    """Send the records of a resource after its SCHEMA, which names the columns of the first record; nothing if there are none."""
    columns = resource.compute_table_schema()["columns"]
    key = [name for name, column in columns.items() if column.get("primary_key")]
    version = {"version": time.time_ns() // 1_000_000} if resource.write_disposition == "replace" else {}
    is_described = False
    for item in resource:
        for record in [item] if isinstance(item, dict) else item.to_pylist():  # a table of Arrow
            if not is_described:
                properties: dict[str, Any] = {name: {} for name in {**columns, **record}}
                send("SCHEMA", stream=resource.name, schema={"type": "object", "properties": properties}, key_properties=key)
                is_described = True
            send("RECORD", stream=resource.name, record=record, **version)
    if version and is_described:
        send("ACTIVATE_VERSION", stream=resource.name, **version)


def to_json(value: object) -> str:
    """Write dates and times in ISO 8601, and a Decimal as text with its digits."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


if __name__ == "__main__":
    main()
