"""Open a lake that a person names. A path that holds none is an error: an empty answer would look as if nothing were wrong."""

from __future__ import annotations

from jobkit.errors import MisconfiguredError
from jobkit.lake import Lake


def open_lake(url: str) -> Lake:
    """Return the lake at a directory or s3://bucket/prefix. Raises MisconfiguredError if there is no dataset in it."""
    lake = Lake(url)
    if not lake.datasets():
        raise MisconfiguredError(f"there is no lake at {url}: it has no raw/ with a dataset; check --lake")
    return lake
