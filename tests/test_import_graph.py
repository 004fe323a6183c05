"""The imports of the whole repository as a graph: no circle, and no arrow against the order of the layers."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("jobs", "images", "orchestration", "infra", "finelt", "verification")
# What each part must not import. verification and tests may import everything.
FORBIDDEN = {
    "jobs": {"images", "orchestration", "infra", "finelt", "verification"},
    "images": {"orchestration", "infra", "finelt", "verification"},
    "orchestration": {"infra", "finelt", "verification"},
    "infra": {"orchestration", "finelt", "verification"},
    "finelt": {"infra", "verification"},
}


def source_files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if not {"tests", "build", ".venv"} & set(path.relative_to(REPOSITORY).parts) and path.name != "conftest.py":
                yield path


def module_name(path: Path) -> str:
    """The dotted name that other modules import: jobs/<job>/<package>/x.py is package.x, everything else is its path."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    if parts[0] == "jobs" and len(parts) > 2:
        parts = parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in source_files()}


@cache
def imported_modules(path: Path) -> set[str]:
    """Every module of ours that a file imports: at its top, in a function, or for its types only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= submodules & MODULES.keys() or {node.module}
    return names & MODULES.keys()


@pytest.mark.parametrize("package", sorted(name for name, path in MODULES.items() if path.name == "__init__.py"))
def test_a_package_says_what_it_is_for(package: str) -> None:
    """Write what the package does and which of its names others use as the docstring of its __init__.py."""
    assert ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8")))


def part_of(module: str) -> str:
    return MODULES[module].relative_to(REPOSITORY).parts[0]


def package_of(module: str) -> str:
    """The part, or the second level where that holds packages of their own: jobs/jobkit, orchestration/runtime, verification/faults."""
    parts = MODULES[module].relative_to(REPOSITORY).parts
    return "/".join(parts[:2]) if parts[0] in {"jobs", "orchestration", "verification"} else parts[0]


def job_of(module: str) -> str:
    """The job that a module belongs to, or `shared` for jobkit and what is in no job."""
    parts = MODULES[module].relative_to(REPOSITORY).parts
    return parts[1] if parts[0] == "jobs" and len(parts) > 2 and parts[1] != "jobkit" else "shared"


def find_circle(name_of: Callable[[str], str]) -> list[str]:
    """The names along one circle of imports, empty if there is none."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        imports = imported_modules(path)
        graph[name_of(module)] |= {name_of(imported) for imported in imports} - {name_of(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("name_of", [str, package_of, part_of], ids=["modules", "packages", "parts"])
def test_imports_have_no_circle(name_of: Callable[[str], str]) -> None:
    """Move what both sides need into a module that imports neither."""
    assert find_circle(name_of) == []


def test_imports_follow_the_order_of_the_parts() -> None:
    """Jobs know jobkit only; orchestration, infra and finelt read the catalogue; verification may use everything."""
    arrows = {
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        for imported in imported_modules(path)
        if part_of(imported) in FORBIDDEN.get(part_of(module), set())
    }
    assert arrows == set()


def test_only_verification_and_tests_import_a_job() -> None:
    """Run the job as a command, or put what it shares into jobkit. verification may: it measures and fuzzes parts of a job."""
    arrows = {
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        for imported in imported_modules(path)
        if part_of(module) != "verification" and job_of(imported) not in {"shared", job_of(module)}
    }
    assert arrows == set()


def test_few_modules_import_by_name() -> None:
    """The graph does not see `import_module`, so list here who may call it, and for what."""
    assert {module for module, path in MODULES.items() if part_of(module) != "verification" and "import_module" in path.read_text()} == {
        "jobkit.lake",  # the standard library's zstd or its backport
        "orchestration.flows.__main__",  # a flow of its own package
        "jobkit.extractor",  # the parser of the job's own package, at first use
        "jobkit.parse_processes",  # the same, in another process
        "extract_singer_streams.dlt_tap",  # a dlt source of the user's environment
        "finelt.cli",  # a subcommand, when it is called
    }


def test_the_graph_sees_every_kind_of_import(tmp_path: Path) -> None:
    """Else the other tests would pass by being blind."""
    source = tmp_path / "source.py"
    source.write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom jobkit import errors\n"
        "if TYPE_CHECKING:\n    from jobkit.lake import Lake\ndef f():\n    import jobs.catalogue\n"
    )
    assert imported_modules(source) == {"jobkit.errors", "jobkit.lake", "jobs.catalogue"}
    assert {"orchestration.flows.daily", "jobkit.errors", "load_warehouse.load", "finelt.sql", "verification.faults.sandbox"} <= set(
        MODULES
    )
