"""Find the credentials in a process's environment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus, urlsplit

from jobkit.redaction.encodings import MIN_CHARS_INSIDE_WORDS
from jobkit.redaction.known_secrets import protect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CREDENTIAL_NAME = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|AUTH_STRING|PRIVATE_KEY|CREDENTIALS", re.IGNORECASE)
_PLACE_NAME = re.compile(r"(?:_FILE|_PATH|_URI|_URL|_ARN|_SOCK|_NAME|_DIR)$", re.IGNORECASE)
_TELEMETRY_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")


def protect_environment(environ: Mapping[str, str]) -> None:
    """Mask the credentials in the environment: in variables with such names, in URLs, and in headers for telemetry.

    Values of fewer than eight characters stay: nobody said that they are secret, and masking them would destroy text.
    """
    for name, value in environ.items():
        for secret in _find_credentials(name, value):
            if len(secret) >= MIN_CHARS_INSIDE_WORDS:
                protect(secret)


def _find_credentials(name: str, value: str) -> Iterable[str]:
    """Return the credentials in a variable; none if it names only the place of a credential."""
    if _TELEMETRY_HEADERS.fullmatch(name):
        return [part for pair in value.split(",") for part in _split_scheme(unquote_plus(pair.partition("=")[2].strip()))]
    if "://" in value:
        try:
            parts = urlsplit(value)
            return [unquote(parts.password)] if parts.password else []
        except ValueError:
            return []
    if _CREDENTIAL_NAME.search(name) and not _PLACE_NAME.search(name) and not value.startswith("/"):
        return [value.strip(), *([value.strip().partition(":")[2]] if "AUTH_STRING" in name.upper() else [])]
    return []


def _split_scheme(value: str) -> list[str]:
    """Return a header's value, and the part after its scheme, as in `Bearer TOKEN`."""
    return [value, value.rpartition(" ")[2]]
