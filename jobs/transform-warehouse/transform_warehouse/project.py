"""The dbt project: where it is, what it is made of, and its parse, which is done once when an image is built."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from jobkit.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt.contracts.graph.manifest import Manifest

DERIVED = ("target", "logs", "dbt_packages")
AS_OF_VIEWS = Path(__file__).with_name("as_of.py")
IN_CHECKOUT = Path(__file__).parents[3] / "dbt"


def find(given: str | None) -> Path:
    """The project's directory: the one given, or the checkout's. Raises MisconfiguredError where there is none."""
    project = Path(given) if given else IN_CHECKOUT
    if not (project / "dbt_project.yml").is_file():
        raise MisconfiguredError(f"no dbt project at {project}: expected dbt_project.yml there; name the folder with --project")
    return project.resolve()


def marts(project: Path) -> list[str]:
    """The names of the marts, sorted."""
    return sorted(path.stem for path in (project / "models" / "marts").glob("*.sql"))


def fingerprint(project: Path) -> str:
    """A hash of everything the result depends on but the data: the project's files, dbt's version, how as-of views are made."""
    digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-postgres')}".encode())
    digest.update(AS_OF_VIEWS.read_bytes())
    for path in _files(project):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{path.relative_to(project)} {content}".encode())
    return digest.hexdigest()[:32]


def _files(project: Path) -> Iterator[Path]:
    for path in sorted(project.rglob("*")):
        inner = path.relative_to(project).parts
        if path.is_file() and inner[0] not in DERIVED and not inner[-1].startswith("."):
            yield path


def keep_parse(project: Path) -> Path:
    """The file, named by the fingerprint, in which the project's parse now lies. Needs no database."""
    from dbt.parser.manifest import extended_mashumaro_encoder  # noqa: PLC0415  slow to import

    kept = _kept(project)
    kept.parent.mkdir(exist_ok=True)
    beside = kept.with_suffix(f".{os.getpid()}")
    beside.write_bytes(bytes(_timeless(_parse(project)).to_msgpack(extended_mashumaro_encoder)))
    beside.replace(kept)
    for older in set(kept.parent.glob("parse-*")) - {kept}:
        older.unlink(missing_ok=True)
    return kept


def manifest(project: Path, *, database: str) -> Manifest:
    """The project's parse, kept or made now, with its relations in the given database."""
    from dbt.contracts.graph.manifest import Manifest  # noqa: PLC0415  slow to import
    from dbt.parser.manifest import extended_mashumuro_decoder  # noqa: PLC0415

    parsed = None
    with suppress(FileNotFoundError):
        parsed = Manifest.from_msgpack(_kept(project).read_bytes(), decoder=extended_mashumuro_decoder)
    return _moved(parsed or _parse(project), database)


def _kept(project: Path) -> Path:
    return project / "target" / f"parse-{fingerprint(project)}.msgpack"


def _parse(project: Path) -> Manifest:
    from transform_warehouse import dbt  # noqa: PLC0415

    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        return cast("Manifest", dbt.invoke("parse", project=project, scratch=Path(scratch)).result)


def _timeless(parsed: Manifest) -> Manifest:
    """The parse without a trace of when and by which run it was made: the same project gives the same bytes."""
    parsed.files = {}  # for a partial parse, which is never made
    parsed.metadata.generated_at = parsed.metadata.invocation_started_at = parsed.metadata.run_started_at = datetime.fromtimestamp(0, UTC)
    parsed.metadata.invocation_id = None
    for node in chain(*(getattr(parsed, kind).values() for kind in ("nodes", "sources", "macros", "unit_tests"))):
        node.created_at = 0.0
    parsed.build_flat_graph()  # type: ignore[no-untyped-call]  # dbt has no types for it
    return parsed


def _moved(parsed: Manifest, database: str) -> Manifest:
    """The parse with its relations in another database than the one that was named when it was made."""
    for node in chain(parsed.nodes.values(), parsed.sources.values()):
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{node.database}"', f'"{database}"', 1)
        node.database = database
    return parsed
