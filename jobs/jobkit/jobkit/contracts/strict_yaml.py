"""YAML whose plain values mean what they look like.

YAML 1.1 reads some values without quotes as something else: `no` as false, 010 as 8, 1:30 as 90 (https://yaml.org/type/). These are
refused, as are duplicate keys, aliases and merges. Numbers with a fraction are Decimal.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

from jobkit.contracts.model import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE, FRACTION = re.compile(r"[-+]?(0|[1-9]\d*)"), re.compile(r"[-+]?\d+\.\d+([eE][-+]\d+)?")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, and with the strict constructors below."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise ContractError(f"line {line} has an alias; write the value out")
        return super().compose_node(parent, index)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    """Build a mapping whose keys are texts and unique. PyYAML keeps the last of two equal keys and says nothing."""
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise ContractError(f"{_line(key_node)}: the key {key!r} is not text; write it in quotes")
        if key in mapping:
            raise ContractError(f"{_line(key_node)}: the key {key!r} appears twice; keep one of them")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _construct_boolean(_loader: _Loader, node: yaml.ScalarNode) -> bool:
    if node.value not in ("true", "false"):
        raise _ambiguous(node, "true or false")
    return bool(node.value == "true")


def _construct_integer(_loader: _Loader, node: yaml.ScalarNode) -> int:
    if not WHOLE.fullmatch(node.value):
        raise _ambiguous(node, "another number than it looks like")
    return int(node.value)


def _construct_fraction(_loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    if not FRACTION.fullmatch(node.value):
        raise _ambiguous(node, "another number than it looks like")
    return Decimal(node.value)


def _refuse_date(_loader: _Loader, node: yaml.ScalarNode) -> object:
    raise _ambiguous(node, "a date")


def _refuse_merge(_loader: _Loader, node: yaml.ScalarNode) -> object:
    raise _ambiguous(node, "an instruction to merge")


def _ambiguous(node: yaml.ScalarNode, read_as: str) -> ContractError:
    """Return the error for a plain value that YAML 1.1 reads as something else than it looks like."""
    return ContractError(f"{_line(node)}: {node.value} without quotes is read as {read_as}; write it in quotes, or write what you mean")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


_CONSTRUCTORS: dict[str, Callable[[Any, Any], Any]] = {
    "map": _construct_mapping,
    "bool": _construct_boolean,
    "int": _construct_integer,
    "float": _construct_fraction,
    "timestamp": _refuse_date,
    "merge": _refuse_merge,
    "value": _refuse_merge,
}
for _kind, _construct in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct)


def load_yaml(text: str) -> object:
    """Load the one document in the text. Raises ContractError, with the line where there is one."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  made of SafeLoader
    except ContractError:
        raise
    except yaml.YAMLError as error:
        raise ContractError(f"it is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ContractError("it is nested too deeply") from None
