"""Prunes uv.lock to what one package needs. Standard library only: it also runs inside the build.

`python lock.py PACKAGE[EXTRA,...] < uv.lock` prints the pruned lock, for `uv sync --frozen`.

Own code, because `uv export` writes no lock for `uv sync`, and reads files where `scripts/images changed` has only a commit's tree.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = "\n[[package]]\n"
EXTRA_TABLE = re.compile(r'^(?P<name>[\w."-]+) = \[\n(?:    .*\n)*\]\n', re.MULTILINE)
GROUP_TABLES = re.compile(r"\n\[package\.(dev-dependencies|metadata\.requires-dev)\]\n.*?(?=\n\[|\Z)", re.DOTALL)
IDENTITY = re.compile(r".*?^source = .*?\n", re.MULTILINE | re.DOTALL)  # name, version and source of a package
ROOT_SOURCES = ({"virtual": "."}, {"editable": "."})
MANIFEST = re.compile(r"\n\[manifest\]\n.*", re.DOTALL)  # other members, and constraints, which apply only when locking


class LockError(Exception):
    """The lock does not contain the package, or a requirement is malformed."""


def prune_lock(lock: str, target: str) -> str:
    """Return the lock reduced to what a package needs on all platforms. Raises LockError.

    `target` is a name with or without extras, such as "jobkit[extract]".
    """
    head, packages = _parse_lock(lock)
    roots = _list_roots(packages)
    needed = {**_compute_closure([package for package, _ in packages], target), **{root: set[str]() for root in roots}}
    members = sorted(package["name"] for package, _ in packages if package["name"] in needed and "registry" not in package["source"])
    blocks = (
        _keep_identity(block) if package["name"] in roots else _remove_unused(block, needed[package["name"]])
        for package, block in packages
        if package["name"] in needed
    )
    head = MANIFEST.sub("", head).rstrip()
    return BLOCK.join([f"{head}\n\n[manifest]\nmembers = {json.dumps(members)}\n", *blocks])


@cache
def _parse_lock(lock: str) -> tuple[str, list[tuple[dict[str, Any], str]]]:
    """Return the text before the packages, and each package, parsed and as text."""
    head, *blocks = lock.split(BLOCK)
    return head, [(tomllib.loads(BLOCK + block)["package"][0], block) for block in blocks]


def _list_roots(packages: list[tuple[dict[str, Any], str]]) -> list[str]:
    """Return the name of the workspace itself, which uv requires in its lock. No image installs it, so its dependencies are left out."""
    return [package["name"] for package, _ in packages if package["source"] in ROOT_SOURCES]


def parse_requirement(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the name and the sorted extras of a requirement such as "jobkit[extract]>=1; python_version < '3.14'"."""
    match = re.match(r"\s*(?P<name>[\w.-]+)\s*(\[(?P<extras>[\w.,\s-]*)\])?", text)
    if match is None:
        raise LockError(f"{text!r} is not a requirement; write a name, with extras in brackets")
    extras = (extra.strip() for extra in (match["extras"] or "").split(","))
    return match["name"].lower().replace("_", "-"), tuple(sorted(extra for extra in extras if extra))


def _compute_closure(packages: list[dict[str, Any]], target: str) -> Mapping[str, set[str]]:
    """Return the names of all packages that `target` needs, each with the extras that it needs."""
    by_name = defaultdict(list)
    for package in packages:
        by_name[package["name"]].append(package)
    name, extras = parse_requirement(target)
    if name not in by_name:
        raise LockError(f"uv.lock has no package {name!r}; run `uv lock` after adding it")
    needed: dict[str, set[str]] = {}
    pending = [(name, set(extras))]
    while pending:
        name, requested = pending.pop()
        if name in needed and requested <= needed[name]:
            continue
        needed[name] = needed.get(name, set()) | requested
        pending += [dependency for package in by_name[name] for dependency in _list_dependencies(package, needed[name])]
    return needed


def _list_dependencies(package: dict[str, Any], extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    optional = package.get("optional-dependencies", {})
    for entries in (package.get("dependencies", []), *(optional.get(extra, []) for extra in extras)):
        for entry in entries:
            yield entry["name"], set(entry.get("extra", []))


def _keep_identity(block: str) -> str:
    found = IDENTITY.match(block)
    return found[0] if found else block


def _remove_unused(block: str, extras: set[str]) -> str:
    """Remove development groups and unused extras from a package's block: they name packages that are no longer in the lock."""
    before, title, after = GROUP_TABLES.sub("", block).partition("[package.optional-dependencies]\n")
    table, bracket, rest = after.partition("\n[")
    table = EXTRA_TABLE.sub(lambda match: match[0] if match["name"] in extras else "", f"{table}\n")
    return f"{before}{title}{table.rstrip()}{bracket}{rest}".rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(prune_lock(sys.stdin.read(), sys.argv[1]))
