"""The docstrings of jobkit: a map of its modules, and enough about shapes, units, errors and sources to use one without reading it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jobkit

PACKAGE = Path(jobkit.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("_") or path.name == "__init__.py")
MIN_SHARE = 0.15
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_docstring_lines(tree: ast.Module) -> int:
    documented = [node for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None]
    return sum(int(node.body[0].end_lineno or 0) - node.body[0].lineno + 1 for node in documented)


def test_docstrings_are_counted_with_all_their_lines() -> None:
    assert count_docstring_lines(ast.parse('"""One."""\ndef f():\n    """Two\n    lines."""\n    return "no docstring"\n')) == 3


def test_fifteen_percent_of_the_lines_are_docstrings() -> None:
    """Say what the types do not: order, grain, units, whether it may be empty, which error with which exit code, whose standard."""
    sources = [path.read_text(encoding="utf-8") for path in MODULES if path != PACKAGE / "__init__.py"]  # a map, which would lift the share
    docstring_lines = sum(count_docstring_lines(ast.parse(source)) for source in sources)
    lines = sum(len(source.splitlines()) for source in sources)
    assert docstring_lines / lines >= MIN_SHARE, f"{docstring_lines} of {lines} lines"


def test_every_module_is_on_the_map() -> None:
    """Add it to the table in jobkit/__init__.py."""
    assert jobkit.__doc__
    rows = re.findall(r"^\| (`.+?) \|", jobkit.__doc__, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    existing = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert listed == existing - {"__init__"}


def test_every_public_function_and_class_has_a_docstring() -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_") and ast.get_docstring(node) is None
    ]
    assert missing == []
