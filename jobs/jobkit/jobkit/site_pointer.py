"""The pointer of a published site, latest.json: which version is the current one. publish-marts writes it, and others read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jobkit import formats
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.stores import NotFoundError

if TYPE_CHECKING:
    from jobkit.stores import Store

NAME = "latest.json"


def parse(data: bytes, uri: str) -> dict[str, Any]:
    """Return the fields of a pointer, without its format; `version` is one of them.

    Raises BadDataError (exit code 65) for one that cannot be read, NewerFormatError (78) for one that a newer version of finelt wrote.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        formats.check_format(uri, document.pop("format", 1), formats.SITE)
        return {**document, "version": str(document["version"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadDataError(f"{uri} is not a valid pointer: {error!r}; delete it and run publish-marts") from None


def read_version(store: Store) -> str:
    """Return the name of the current version. Raises as `parse`, and MisconfiguredError (78) for a site without a publication."""
    try:
        data = store.get(NAME)
    except NotFoundError:
        raise MisconfiguredError(f"the site {store.url} has no publication; check --site, or run publish-marts first") from None
    return str(parse(data, store.uri(NAME))["version"])
