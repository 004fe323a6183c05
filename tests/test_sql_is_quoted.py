"""Names and values in SQL are quoted by one function per language."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PYTHON = [
    path for folder in ("jobs", "orchestration", "infra") for path in sorted((ROOT / folder).rglob("*.py")) if "tests" not in path.parts
]
DBT = [path for path in sorted((ROOT / "dbt").rglob("*.sql")) if not {"target", "logs"} & set(path.parts)]
STATEMENT = re.compile(
    r"\s*(select|insert into|update|delete from|create|drop|alter|grant|revoke|truncate|copy|comment on|with|set local)\s", re.IGNORECASE
)
QUOTING = {"quote_name", "quote_text", "_quote_list"}  # of publish_marts, whose image has no psycopg
# A Jinja expression between quotes, or joined to one; adapter.quote, which leaves quotes inside a name as they are.
UNQUOTED = re.compile(r"adapter\.quote\b|[\"']\{\{|\}\}[\"']|[\"']'\"?\s*~|~\s*\"?'[\"']|'\"\s*~|~\s*\"'")
NESTED = re.compile(r'(?:pre|post)_hook="\{\{ \w+\([^"]*\) \}\}"')  # a macro's call, which dbt renders later


def is_quoted(node: ast.expr) -> bool:
    """A constant of ours, or what a quoting function gives."""
    if isinstance(node, ast.FormattedValue):
        return is_quoted(node.value)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in QUOTING
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.strip("_").isupper())


def unquoted(source: str) -> Iterator[int]:
    """The lines on which text becomes SQL in another way."""
    tree = ast.parse(source)
    named = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def is_statement(node: ast.expr) -> bool:
        node = named.get(node.id, node) if isinstance(node, ast.Name) else node
        first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        return isinstance(first, ast.Constant) and isinstance(first.value, str) and bool(STATEMENT.match(first.value))

    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr) and is_statement(node):
            parts = [value for value in node.values if isinstance(value, ast.FormattedValue)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod) and is_statement(node.left):
            parts = [node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "replace", "join"):
            parts = [*node.args, *(keyword.value for keyword in node.keywords)] if is_statement(node.func.value) else []
        if not all(map(is_quoted, parts)):
            yield node.lineno


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_builds_sql_with_psycopg_sql(path: Path) -> None:
    """Use psycopg.sql (psycopg2.sql, or quote_name() and quote_text() of publish_marts.warehouse): a vendor may have chosen the name."""
    assert list(unquoted(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", DBT, ids=lambda path: str(path.relative_to(ROOT)))
def test_dbt_quotes_with_the_projects_own_macros(path: Path) -> None:
    """Use quoted_name() and quoted_text() of dbt/macros/quoting.sql: adapter.quote and quotes around {{ }} end where a name has one."""
    if path.name == "quoting.sql":
        return
    lines = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    assert [line for line in lines if UNQUOTED.search(NESTED.sub("", line))] == []


@pytest.mark.parametrize(
    "source",
    [
        'c.execute(f"select * from {table}")',
        'c.execute("select * from " + table)',
        'c.execute("select * from %s" % table)',
        'c.execute("drop table {}".format(table))',
        'Q = "select * from {}"\nc.execute(Q.format(table))',
        'c.execute(f"""\n  delete from raw.{quote(table)}""")',
    ],
)
def test_other_ways_to_build_sql_are_found(source: str) -> None:
    assert list(unquoted(source))
    assert not list(unquoted('c.execute(sql.SQL("select {}").format(sql.Identifier(name)), f"select {quote_name(name)} from {TABLE}")'))


@pytest.mark.parametrize("line", ["'{{ name }}'", '"{{ name }}"', '"where a = \'" ~ name ~ "\'"', "{{ adapter.quote(name) }}"])
def test_other_ways_to_quote_in_dbt_are_found(line: str) -> None:
    assert UNQUOTED.search(line)
