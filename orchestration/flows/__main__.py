"""Prints the flows named on the command line as one JSON array: name, description, parameter schema."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

from prefect.utilities.callables import parameter_schema


def told(name: str) -> dict[str, Any]:
    """What a deployment of a flow needs to know of it."""
    flow = getattr(import_module(f"orchestration.flows.{name}"), name)
    schema = parameter_schema(flow).model_dump_for_openapi()
    return {"name": name, "description": flow.description, "parameters": {**schema, "additionalProperties": False}}


if __name__ == "__main__":
    print(json.dumps([told(name) for name in sys.argv[1:]]))  # noqa: T201  that is what it is for
