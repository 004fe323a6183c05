"""Secrets by reference: the command line says where a secret is, never what it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobkit.errors import MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMES = ("env", "file", "secretsmanager", "ssm")
_used: dict[str, bytes] = {}  # what this process was given, as a digest, by reference


def check_reference(reference: str) -> str:
    """The reference itself, when it is one. Raises UsageError without repeating the text, which may be the secret."""
    if urlsplit(reference).scheme not in SCHEMES:
        raise UsageError(
            "a secret is given by reference: env://NAME, file:///path, secretsmanager://id or ssm://name; "
            "what was given is none of these (and is not repeated here)"
        )
    return reference


def resolve(reference: str) -> str:
    """The secret behind a reference; surrounding white space is not part of it.

    Raises MisconfiguredError when nothing is there, naming the place and never the value.
    """
    url = urlsplit(check_reference(reference))
    name = f"{url.netloc}{url.path}"
    if url.scheme == "env":
        value = os.environ.get(name, "")
    elif url.scheme == "file":
        value = _read_file(name)
    elif url.scheme == "secretsmanager":
        value = _read_secrets_manager(name, url.fragment)
    else:
        value = _read_parameter(name)
    if not (value := value.strip()):
        raise MisconfiguredError(f"no secret at {reference}: it is not set or empty")
    _used.setdefault(reference, _digest(value))
    return value


def changed() -> str | None:
    """The first reference behind which another secret is than the one this process was given: it was rotated meanwhile."""
    for reference, digest in _used.items():
        try:
            if _digest(resolve(reference)) != digest:
                return reference
        except MisconfiguredError:
            continue  # gone, and so no better
    return None


def _digest(value: str) -> bytes:
    import hashlib  # noqa: PLC0415  OpenSSL, which describe need not load

    return hashlib.sha256(value.encode()).digest()


def _read_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MisconfiguredError(f"no secret at file://{path}: {error.strerror or error}") from None


def _read_secrets_manager(name: str, key: str) -> str:
    import json  # noqa: PLC0415  only this scheme needs it

    answer = _aws("secretsmanager", name, lambda client: client.get_secret_value(SecretId=name))["SecretString"]
    if not key:
        return str(answer)
    try:
        return str(json.loads(answer)[key])
    except (ValueError, KeyError, TypeError):
        raise MisconfiguredError(f"the secret secretsmanager://{name} is no JSON object with a key {key!r}") from None


def _read_parameter(name: str) -> str:
    path = name if "/" not in name else f"/{name.lstrip('/')}"
    answer = _aws("ssm", name, lambda client: client.get_parameter(Name=path, WithDecryption=True))
    return str(answer["Parameter"]["Value"])


def _aws(service: str, name: str, call: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    import boto3  # noqa: PLC0415  slow to import; most jobs read no AWS secret
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return call(boto3.client(service))
    except (BotoCoreError, ClientError) as error:
        raise MisconfiguredError(f"no secret at {service}://{name}: {error}") from None
