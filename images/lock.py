"""The part of uv.lock that one package needs. Standard library only: it also runs inside the build.

`python lock.py PACKAGE[EXTRA,...] < uv.lock` prints the pruned lock, for `uv sync --frozen`.
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
EXTRA = re.compile(r'^(?P<name>[\w."-]+) = \[\n(?:    .*\n)*\]\n', re.MULTILINE)
GROUPS = re.compile(r"\n\[package\.(dev-dependencies|metadata\.requires-dev)\]\n.*?(?=\n\[|\Z)", re.DOTALL)
MANIFEST = re.compile(r"\n\[manifest\]\n.*", re.DOTALL)  # the other members, and constraints that have done their work


class LockError(Exception):
    """The lock has no such package, or not in the form that is expected."""


def pruned(lock: str, wanted: str) -> str:
    """The lock with only what a package needs, whatever the platform. Raises LockError.

    `wanted` is a name with or without extras, as in "jobkit[extract]".
    """
    head, packages = _parsed(lock)
    needed = {**_closure([package for package, _ in packages], wanted), **{root: set[str]() for root in _roots(packages)}}
    members = sorted(package["name"] for package, _ in packages if package["name"] in needed and "registry" not in package["source"])
    kept = (_without_unused(block, needed[package["name"]]) for package, block in packages if package["name"] in needed)
    head = MANIFEST.sub("", head).rstrip()
    return BLOCK.join([f"{head}\n\n[manifest]\nmembers = {json.dumps(members)}\n", *kept])


@cache
def _parsed(lock: str) -> tuple[str, list[tuple[dict[str, Any], str]]]:
    """What stands before the packages, and each package with its text."""
    head, *blocks = lock.split(BLOCK)
    return head, [(tomllib.loads(BLOCK + block)["package"][0], block) for block in blocks]


def _roots(packages: list[tuple[dict[str, Any], str]]) -> list[str]:
    """The workspace itself, which uv wants to find in its lock."""
    return [package["name"] for package, _ in packages if package["source"] == {"virtual": "."}]


def requirement(text: str) -> tuple[str, tuple[str, ...]]:
    """The name and the extras, sorted, of a requirement such as "jobkit[extract]>=1; python_version < '3.14'"."""
    found = re.match(r"\s*(?P<name>[\w.-]+)\s*(\[(?P<extras>[\w.,\s-]*)\])?", text)
    if found is None:
        raise LockError(f"{text!r} is no requirement; write a name, with extras in brackets")
    extras = (extra.strip() for extra in (found["extras"] or "").split(","))
    return found["name"].lower().replace("_", "-"), tuple(sorted(extra for extra in extras if extra))


def _closure(packages: list[dict[str, Any]], wanted: str) -> Mapping[str, set[str]]:
    """The names of all packages that are needed, each with the extras that are."""
    named = defaultdict(list)
    for package in packages:
        named[package["name"]].append(package)
    name, extras = requirement(wanted)
    if name not in named:
        raise LockError(f"uv.lock knows no package {name!r}; run `uv lock` after adding it")
    needed: dict[str, set[str]] = {}
    waiting = [(name, set(extras))]
    while waiting:
        name, more = waiting.pop()
        if name in needed and more <= needed[name]:
            continue
        needed[name] = needed.get(name, set()) | more
        waiting += [found for package in named[name] for found in _dependencies(package, needed[name])]
    return needed


def _dependencies(package: dict[str, Any], extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    optional = package.get("optional-dependencies", {})
    for entries in (package.get("dependencies", []), *(optional.get(extra, []) for extra in extras)):
        for entry in entries:
            yield entry["name"], set(entry.get("extra", []))


def _without_unused(block: str, extras: set[str]) -> str:
    """A package's block without development groups, and without the extras nobody asked for: they name packages that are gone."""
    before, title, after = GROUPS.sub("", block).partition("[package.optional-dependencies]\n")
    table, bracket, rest = after.partition("\n[")
    table = EXTRA.sub(lambda found: found[0] if found["name"] in extras else "", f"{table}\n")
    return f"{before}{title}{table.rstrip()}{bracket}{rest}".rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(pruned(sys.stdin.read(), sys.argv[1]))
