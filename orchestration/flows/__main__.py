"""Print the flows named on the command line as one JSON array: name, description, parameter schema."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any, get_type_hints

from prefect.utilities.callables import parameter_schema


def describe_flow(name: str) -> dict[str, Any]:
    """Return what a flow's deployment needs: its name, description and the JSON Schema of its parameters."""
    flow = getattr(import_module(f"orchestration.flows.{name}"), name)
    schema = parameter_schema(flow).model_dump_for_openapi()
    for parameter, hint in get_type_hints(flow.fn, include_extras=True).items():
        for field in getattr(hint, "__metadata__", ()):
            schema["properties"][parameter]["description"] = field.description  # Prefect reads it from docstrings only
    return {"name": name, "description": flow.description, "parameters": {**schema, "additionalProperties": False}}


if __name__ == "__main__":
    print(json.dumps([describe_flow(name) for name in sys.argv[1:]]))  # noqa: T201  the program's output
