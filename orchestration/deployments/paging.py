"""Read all entries behind a filter route of Prefect's API, which returns at most 200 at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.prefect_api import Api

PAGE_SIZE = 200


def read_all(api: Api, path: str, body: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return every entry that matches the filter in `body`, page by page. Raises ApiError."""
    entries: list[dict[str, Any]] = []
    while page := api.call("POST", path, {**(body or {}), "offset": len(entries), "limit": PAGE_SIZE}):
        entries += page
        if len(page) < PAGE_SIZE:
            break
    return entries
