"""Cache the parsed dbt project (dbt's manifest), so that no run has to parse it.

    python -m transform_warehouse.manifest_cache PROJECT

writes the cache; it is run once when an image is built. Parsing needs no database. In a checkout, the first run after a change writes it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from jobkit import files

from transform_warehouse.project import compute_fingerprint, find_project

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


def cache_manifest(project: Path) -> Path:
    """Parse the project if its manifest is not in the cache, write it there, remove older ones, and return the file's path."""
    cache = _cache_path(project)
    return cache if cache.exists() else _write_cache(project, _parse_project(project))


def load_manifest(project: Path, *, database: str) -> Manifest:
    """Return the project's manifest, from the cache or parsed now, with its relations in the given database."""
    from dbt.contracts.graph.manifest import Manifest  # noqa: PLC0415  slow to import
    from dbt.parser.manifest import extended_mashumuro_decoder  # noqa: PLC0415

    try:
        manifest = Manifest.from_msgpack(_cache_path(project).read_bytes(), decoder=extended_mashumuro_decoder)
    except FileNotFoundError:
        manifest = _parse_project(project)
        with suppress(OSError):  # the project may be read-only
            _write_cache(project, manifest)
    return _rebind_database(manifest, database)


def _cache_path(project: Path) -> Path:
    """Return the cache file of the project as its files are now."""
    return project / "target" / f"parse-{compute_fingerprint(project)}.msgpack"


def _write_cache(project: Path, manifest: Manifest) -> Path:
    """Write the manifest to the cache, remove older ones, and return the file's path."""
    from dbt.parser.manifest import extended_mashumaro_encoder  # noqa: PLC0415  slow to import

    cache = _cache_path(project)
    files.replace_file(cache, bytes(_normalise(manifest).to_msgpack(extended_mashumaro_encoder)))
    for older in set(cache.parent.glob("parse-*")) - {cache}:
        older.unlink(missing_ok=True)
    return cache


def _parse_project(project: Path) -> Manifest:
    from transform_warehouse import dbt  # noqa: PLC0415

    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        return cast("Manifest", dbt.invoke("parse", project=project, scratch=Path(scratch)).result)


def _normalise(manifest: Manifest) -> Manifest:
    """Remove times and run ids from a manifest, so that the same project gives the same bytes."""
    manifest.files = {}  # only a partial parse reads them, and we never do one
    metadata = manifest.metadata
    metadata.generated_at = metadata.invocation_started_at = metadata.run_started_at = datetime.fromtimestamp(0, UTC)
    metadata.invocation_id = None
    for node in chain(*(getattr(manifest, kind).values() for kind in ("nodes", "sources", "macros", "unit_tests"))):
        node.created_at = 0.0
    manifest.build_flat_graph()
    return manifest


def _rebind_database(manifest: Manifest, database: str) -> Manifest:
    """Move a manifest's relations from the database named when it was parsed to another."""
    for node in chain(manifest.nodes.values(), manifest.sources.values()):
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{node.database}"', f'"{database}"', 1)
        node.database = database
    return manifest


if __name__ == "__main__":
    sys.stdout.write(f"{cache_manifest(find_project(sys.argv[1]))}\n")
