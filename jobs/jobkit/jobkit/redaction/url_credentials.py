"""Mask credentials in URLs, connection strings and Authorization headers, whether this process knows them or not.

https://user:password@host/            https://***@host/
postgresql://user:password@host/db     postgresql://user:***@host/db
sftp://user:password@host/path         sftp://user:***@host/path
https://host/?api_key=abc&page=2       https://host/?api_key=***&page=2
host=h password=abc                    host=h password=***
Authorization: Bearer abc              Authorization: ***
"""

from __future__ import annotations

import re

from jobkit.redaction.encodings import to_lower

MASK = "***"
_WORDS = r"passw|passphrase|passfile|pwd|secret|token|api[_\-]?key|access[_\-]?key|signature|credential|authorization"
_CREDENTIAL = rf"(?:[\w.\-]*(?:{_WORDS})[\w.\-]*|pass|key|sig|auth|options)"
_SCHEME = r"(?<![A-Za-z0-9+.\-])(?P<scheme>[A-Za-z0-9+.\-]+:)"  # tried at the beginning of a word only: the words of a receipt are long
_USER = re.compile(rf"(?:{_SCHEME})?//(?P<user>[^\s/?#\"'<>]*)@")
_USER_WITH_SLASH = re.compile(rf"{_SCHEME}//(?P<user>[^\s/?#@:\"'<>]*:(?!\d*[/?#])[^\s@\"'<>]*)@")
_QUERY = re.compile(rf"([?&;]{_CREDENTIAL}=)[^&#;\s\"'<>]+", re.IGNORECASE)
_PAIR = re.compile(r"(\b(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&;,\"'\\]+)", re.IGNORECASE)
_AUTH_SCHEME = r"(?:(?:basic|bearer|token|digest)\s+)?"
_HEADER = re.compile(rf"(\bauthorization['\"]?\s*[:=]\s*)(?:b(?=['\"]))?['\"]?{_AUTH_SCHEME}[^\s,'\"]+", re.IGNORECASE)


def mask_urls(text: str) -> str:
    """Return the text with user and password in URLs, query parameters such as `token`, and the other credentials masked."""
    if "//" in text and "@" in text:
        text = _USER_WITH_SLASH.sub(_mask_user, _USER.sub(_mask_user, text))
    lower = to_lower(text)
    if "=" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = _PAIR.sub(rf"\1{MASK}", text) if "password" in lower else text
    return _HEADER.sub(rf"\1{MASK}", text) if "authorization" in lower else text


def _mask_user(match: re.Match[str]) -> str:
    """Mask everything between scheme and host; keep the user of a database or SFTP server, which helps and is not secret."""
    scheme, user = match["scheme"] or "", match["user"]
    if scheme.lower().startswith(("postgres", "sftp:")):
        name, colon, _ = user.partition(":")
        return f"{scheme}//{name}{colon and ':' + MASK}@"
    return f"{scheme}//{MASK}@"
