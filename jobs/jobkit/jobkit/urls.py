"""Checks of URLs in options and in the environment: none may contain a credential.

    check_web          a server: --base-url, --trace
    check_place        a directory, file:///path or s3://bucket/prefix: --lake, --drop, --site, --docs
    check_warehouse    postgresql://user@host:port/database (a libpq URI): --warehouse
    check_sftp         sftp://user@host:port/path: --sftp
    check_environment  URLs that launchers, telemetry and AWS clients read from the environment

All raise UsageError (2). A refused URL is never repeated in the message: it may hold a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from jobkit import redaction
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The query parameters of a warehouse's URL. No password, no password file, no session settings (`options`).
WAREHOUSE_PARAMETERS = (
    "application_name",
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
)
ENVIRONMENT = re.compile(r"PREFECT_API_URL|OPENLINEAGE_URL|OTEL_EXPORTER_OTLP(?:_TRACES)?_ENDPOINT|AWS_ENDPOINT_URL(?:_\w+)?")
_VALUE = re.compile(r"[\w./:@, \-]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]")
_DATABASE = re.compile(r"/[^/\s=:?#@;]+")
_SFTP_PATH = re.compile(r"(?:/[^\0]*)?")
_UNSEEN = "what was given is not repeated here, as it may hold a secret"


def split(url: str) -> SplitResult:
    """Split a URL into its parts. Raises UsageError for an invalid URL."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  read to be checked
    except ValueError:
        raise UsageError(f"it is not a URL; {_UNSEEN}") from None
    return parts


def check_web(url: str) -> str:
    """Check the URL of a server and return it. Raises UsageError on another scheme and on a user, a password, a query or a fragment."""
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise UsageError(f"expected https://host/path; {_UNSEEN}")
    if "@" in parts.netloc:
        raise UsageError(f"the URL names a user or password before its host; leave them out, and give a secret by reference; {_UNSEEN}")
    if "?" in url or "#" in url or has_credential(url):
        raise UsageError(f"the URL goes on behind its path; expected https://host/path without a query, a key or a token; {_UNSEEN}")
    return url


def check_place(url: str) -> str:
    """Check a place that stores data (a directory, file:///path or s3://bucket/prefix) and return it. Raises UsageError."""
    parts = split(url)
    if parts.scheme == "s3":
        right = _BUCKET.fullmatch(parts.netloc) is not None and not set("?#") & set(url)
    elif parts.scheme == "file":
        right = parts.netloc in ("", "localhost") and parts.path != "" and not set("?#") & set(url)
    else:
        right = url != "" and not parts.scheme and "://" not in url and "@" not in parts.netloc
    if not right or "\0" in url or has_credential(url):
        raise UsageError(
            f"it is not a place to store data; expected a directory, file:///path or s3://bucket/prefix without user and key; {_UNSEEN}"
        )
    return url


def check_warehouse(url: str) -> str:
    """Check postgresql://user@host:port/database, with WAREHOUSE_PARAMETERS at most, and return it. Raises UsageError."""
    try:
        parts = urlsplit(url)
        user = unquote(parts.username or "")
        hosts = parts.netloc.rpartition("@")[2]
    except ValueError:
        raise UsageError(f"expected postgresql://user@host:port/database; {_UNSEEN}") from None
    if parts.password is not None or ":" in user:
        raise UsageError("the URL holds a password; leave it out and name it with --warehouse-password")
    if parts.scheme not in ("postgresql", "postgres") or not user or not re.fullmatch(r"[\w.\-,:\[\]%]+", hosts):
        raise UsageError(f"expected postgresql://user@host:port/database; {_UNSEEN}")
    if not all(re.fullmatch(r"(?:\[[\w:.%]+\]|[^:\[\]]+)(?::\d{1,5})?", host) for host in hosts.split(",")):
        raise UsageError(f"expected postgresql://user@host:port/database with a number for its port; {_UNSEEN}")
    if not _DATABASE.fullmatch(unquote(parts.path)) or "#" in url:
        raise UsageError(f"expected one database's name in postgresql://user@host:port/database; {_UNSEEN}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in WAREHOUSE_PARAMETERS or not _VALUE.fullmatch(value):
            allowed = ", ".join(WAREHOUSE_PARAMETERS)
            raise UsageError(f"the URL has a parameter other than {allowed}; a password goes by --warehouse-password; {_UNSEEN}")
    return url


def check_sftp(url: str) -> str:
    """Check a folder of an SFTP server, sftp://user@host:port/path, and return it. Raises UsageError, also on a password."""
    parts = split(url)
    if parts.password is not None or ":" in unquote(parts.username or ""):
        raise UsageError(f"the URL holds a password; leave it out and name it with --sftp-credential; {_UNSEEN}")
    if parts.scheme != "sftp" or not parts.username or not parts.hostname or not _SFTP_PATH.fullmatch(unquote(parts.path)):
        raise UsageError(f"expected sftp://user@host:port/path; {_UNSEEN}")
    if "?" in url or "#" in url or not url.isprintable():
        raise UsageError(f"the URL goes on behind its path; expected sftp://user@host:port/path; {_UNSEEN}")
    return url


def check_environment(environ: Mapping[str, str]) -> None:
    """Check the URLs of launchers, telemetry and AWS. Raises UsageError (2), which names the variable, if one contains a credential."""
    for name, value in environ.items():
        if not ENVIRONMENT.fullmatch(name):
            continue
        try:
            parts = split(value)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        if "@" in parts.netloc or has_credential(value):
            raise UsageError(f"{name} holds a user, a password or a key; give it where the client of it looks for one; {_UNSEEN}")


def has_credential(url: str) -> bool:
    """Whether a URL contains a password, a key, or a user other than a database's."""
    return any(redaction.mask_urls(seen) != seen for seen in (url, unquote(url)))
