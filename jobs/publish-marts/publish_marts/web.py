"""The style sheet and scripts of the site: ours in `assets`, and those that `web/` builds from npm packages.

Each version has its own copy, except of the SQL console: its 10 MB are in <site>/assets/console/<hash>/, once for all versions.

`scripts/setup` makes the build in a checkout, images/job.Dockerfile in an image, where FINELT_WEB names its folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.errors import MisconfiguredError

if TYPE_CHECKING:
    from jobkit.stores import Store

OWN = Path(__file__).parent / "assets"
CHECKOUT_BUILD = Path(__file__).parents[1] / "web" / "build"
BUILT = ("uPlot.iife.min.js", "uPlot.min.css")
CONSOLE = "console"  # the folder of the SQL console in the build
CONSOLE_TYPES = {".js": "text/javascript; charset=utf-8", ".gz": "application/gzip"}


def find_build() -> Path:
    """Return the folder of the build. Raises MisconfiguredError if there is none."""
    build = Path(os.environ.get("FINELT_WEB") or CHECKOUT_BUILD)
    if not all((build / name).is_file() for name in BUILT):
        raise MisconfiguredError(f"the scripts of the site are not in {build}; run scripts/setup, or set FINELT_WEB to their folder")
    return build


def read_assets() -> dict[str, bytes]:
    """Read the files that every page needs, by name."""
    build = find_build()
    return {path.name: path.read_bytes() for path in (*sorted(OWN.iterdir()), *(build / name for name in BUILT))}


def name_console() -> str:
    """Return the hash of the SQL console's script, which names the versions of all its parts."""
    return hashlib.sha256((find_build() / CONSOLE / "console.js").read_bytes()).hexdigest()[:16]


def write_console(store: Store) -> None:
    """Write the SQL console to a site that does not have it."""
    folder = f"assets/{CONSOLE}/{name_console()}"
    for path in sorted((find_build() / CONSOLE).iterdir()):
        if not store.exists(f"{folder}/{path.name}"):
            store.put(f"{folder}/{path.name}", path, CONSOLE_TYPES[path.suffix])
