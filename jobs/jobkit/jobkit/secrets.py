"""Secrets by reference: the command line names the place of a secret, never the secret.

    env://NAME                  an environment variable
    file:///path                a file, such as a mounted secret of Docker or Kubernetes
    secretsmanager://id         AWS Secrets Manager; secretsmanager://id#key is one key of a JSON secret
    ssm://name                  AWS Systems Manager Parameter Store, decrypted

A secret is one line of text. White space around it is removed. A private key in PEM form has several lines (`resolve_login`).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from jobkit import logs, redaction
from jobkit.errors import BadDataError, MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMES = ("env", "file", "secretsmanager", "ssm")
PEM = "-----BEGIN "
MAX_CHARS = 65_536  # the limit of Secrets Manager, in bytes
_used: dict[str, bytes] = {}  # digests of the secrets that this process read, by reference


def check_reference(reference: str) -> str:
    """Check the form of a reference and return it. Raises UsageError (2), which does not repeat the text: it may be the secret."""
    try:
        url = urlsplit(reference)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in SCHEMES or (url.scheme in ("env", "file") and ("@" in url.netloc or "?" in reference or "#" in reference)):
        raise UsageError(
            "a secret is given by reference: env://NAME, file:///path, secretsmanager://id or ssm://name; "
            "what was given is none of these (and is not repeated here)"
        )
    return reference


def resolve(reference: str) -> str:
    """Read the secret at a reference, without surrounding white space, and mask it in all output of this process from now on.

    Raises MisconfiguredError (78), which names the place and never the value, if there is no secret, or one with control characters or
    line breaks. Logs a warning if it is too short to be masked.
    """
    return _protect_line(reference, _read(check_reference(reference)))


def resolve_login(reference: str) -> str:
    """Read a password, as `resolve` does, or a private key in PEM form, of which each line is masked from now on."""
    value = _read(check_reference(reference))
    if not value.startswith(PEM):
        return _protect_line(reference, value)
    for line in value.splitlines():
        if not line.startswith("-----"):
            redaction.protect(line.strip())
    _used.setdefault(reference, _digest(value))
    return value


def _protect_line(reference: str, value: str) -> str:
    if not value.isprintable():
        raise MisconfiguredError(
            f"the secret at {reference} holds a line break, a control character or one that cannot be printed; write it as one line of text"
        )
    if len(value) < redaction.MIN_CHARS:
        values = {"secret": reference, "least_characters": redaction.MIN_CHARS}
        logging.getLogger(logs.LOGGER).warning("a secret is too short to be masked; use a longer one", extra=values)
    redaction.protect(value)
    _used.setdefault(reference, _digest(value))
    return value


def resolve_token(reference: str) -> str:
    """Read a secret that is sent to a vendor in a header. A response that contains it is refused from now on (`refuse_echo`).

    Raises MisconfiguredError (78) as `resolve` does, and for characters that no header can carry.
    """
    value = resolve(reference)
    if not value.isascii():
        raise MisconfiguredError(f"the secret at {reference} holds a character outside ASCII, which no HTTP header can carry; look at it")
    redaction.protect(value, sent=True)
    return value


def refuse_echo(data: bytes | memoryview, source: str) -> None:
    """Raise BadDataError (65), which names only the source, if data from outside contains a secret that was sent there.

    The lake keeps responses permanently, and every reader of the lake could read the secret.
    """
    if redaction.holds_secret(data):
        raise_echo(source)


def raise_echo(source: str) -> NoReturn:
    """Raise BadDataError: a response contains the secret of its request."""
    raise BadDataError(
        f"the answer of {source} holds the secret that it was asked with; nothing of it was kept. Ask the vendor why, and renew the secret"
    )


def _read(reference: str) -> str:
    url = urlsplit(reference)
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
    return value


def rotated_reference() -> str | None:
    """Return the first reference whose secret has changed since this process read it; None if none has."""
    for reference, digest in _used.items():
        try:
            if _digest(_read(reference)) != digest:
                return reference
        except MisconfiguredError:
            continue  # gone, and so no better
    return None


def _digest(value: str) -> bytes:
    import hashlib  # noqa: PLC0415  OpenSSL, which describe need not load

    return hashlib.sha256(value.encode()).digest()


def _read_file(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            value = file.read(MAX_CHARS + 1)
    except UnicodeDecodeError:
        raise MisconfiguredError(f"the secret at file://{path} is not UTF-8 text; write it as one line of text") from None
    except OSError as error:
        raise MisconfiguredError(f"no secret at file://{path}: {error.strerror or error}") from None
    if len(value) > MAX_CHARS:
        raise MisconfiguredError(f"file://{path} has more than {MAX_CHARS:,} characters, which no secret has; name the secret's own file")
    return value


def _read_secrets_manager(name: str, key: str) -> str:
    import json  # noqa: PLC0415  only this scheme needs it

    answer = _aws("secretsmanager", name, lambda client: client.get_secret_value(SecretId=name)).get("SecretString")
    if answer is None:
        raise MisconfiguredError(f"the secret secretsmanager://{name} is binary; keep it as text")
    if not key:
        return str(answer)
    try:
        return str(json.loads(answer)[key])
    except (ValueError, KeyError, TypeError):
        raise MisconfiguredError(f"the secret secretsmanager://{name} is not a JSON object with a key {key!r}") from None


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
