"""A release of the images: an index per image that has a semantic tag and names the digests of each platform.

The registry has the images already, under the hashes of their contents. A tag of a release is never moved to other digests.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from images import docker_cli

if TYPE_CHECKING:
    from collections.abc import Mapping

PLATFORMS = ("linux/amd64", "linux/arm64")
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
DIR_VERSION = "Directory Transport Version: 1.1\n"  # skopeo's own format of a folder with a manifest


def build_index(manifests: Mapping[str, bytes], annotations: Mapping[str, str]) -> bytes:
    """Return an OCI image index of the manifests by platform. The same manifests and annotations give the same bytes."""
    entries = []
    for platform, manifest in sorted(manifests.items()):
        system, _, architecture = platform.partition("/")
        entries.append(
            {
                "mediaType": json.loads(manifest)["mediaType"],
                "digest": _digest(manifest),
                "size": len(manifest),
                "platform": {"os": system, "architecture": architecture},
            }
        )
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, "annotations": dict(annotations)}
    return json.dumps(index, indent=1, sort_keys=True).encode()


def publish_index(repository: str, version: str, images: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Tag the images of a repository, by platform, as a version; return the reference of the index by digest.

    Raises EngineError if the registry has other images under this version.
    """
    index = build_index({platform: docker_cli.read_manifest(image) for platform, image in images.items()}, annotations)
    tagged, digest = f"{repository}:{version}", _digest(index)
    existing = docker_cli.find_digest(tagged)
    if existing not in (None, digest):
        raise docker_cli.EngineError(f"{tagged} is {existing} already, not {digest}; a release never changes, so raise the version")
    if existing is None:
        with TemporaryDirectory() as folder:
            (Path(folder) / "manifest.json").write_bytes(index)
            (Path(folder) / "version").write_text(DIR_VERSION, encoding="utf-8")
            docker_cli.run_skopeo("copy", "--quiet", "--multi-arch=index-only", "--preserve-digests", f"dir:{folder}", tagged)
    return f"{repository}@{digest}"


def read_changes(changelog: str, version: str) -> str:
    """Return the section of a version in the text of CHANGELOG.md. Raises EngineError if there is none or it is empty."""
    _, heading, after = changelog.partition(f"\n## {version}")
    line, _, rest = after.partition("\n")
    section = rest.partition("\n## ")[0].strip()
    if not heading or (line and not line.startswith((" ", "]"))) or not section:
        raise docker_cli.EngineError(
            f"CHANGELOG.md has no section {version}; rename Unreleased to '## {version} - DATE', and begin a new one"
        )
    return section + "\n"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
