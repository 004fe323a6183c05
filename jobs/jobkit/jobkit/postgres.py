"""What a failure of the warehouse means to a job: one table for load-warehouse, transform-warehouse and publish-marts.

The three use three drivers (psycopg, psycopg2, ADBC), and a failure has one exit code in all of them. The server's SQLSTATE decides where
there is one. A connection that was not made has none, because libpq gives its text only, so there the text decides.

A refused login, whatever the reason (password, pg_hba.conf, an unknown role), is AuthError: SQLSTATE class 28. A right that a role lacks,
or a database that does not exist, is MisconfiguredError: the credentials were accepted, and a grant or the URL has to change.

Sources: appendix A of the PostgreSQL manual (SQLSTATE classes); src/backend/libpq/auth.c and hba.c, libpq's fe-connect.c and fe-auth.c
(texts).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from jobkit.errors import AuthError, BadDataError, JobError, MisconfiguredError, TemporaryError


class Rule(NamedTuple):
    """One kind of failure: which SQLSTATEs (beginnings) and which texts of libpq mean it, the error, and its message for `reason`.

    `option` in the message is the option that names the database.
    """

    sqlstates: tuple[str, ...]
    texts: tuple[str, ...]
    error: type[JobError]
    message: str


TRANSFORM_LOCK = "hashtextextended('finelt transform', 0)"  # SQL of the advisory lock of whoever builds the marts, or must not meet a build
DUPLICATE_KEY = Rule(("23505",), (), BadDataError, "two rows have the same key ({detail}); the contract's key must be unique")
UNREACHABLE = Rule(("08",), (), TemporaryError, "Postgres cannot be reached or closed the connection: {reason}; run it again later")
# The first rule that fits counts.
RULES: tuple[Rule, ...] = (
    Rule(
        ("28",),
        (
            r"authentication failed",
            r"authentication method \d+ not supported",
            r"no password supplied",
            r"no pg_hba\.conf entry",
            r"pg_hba\.conf rejects connection",
            r'role ".*" does not exist',
            r'role ".*" is not permitted to log in',
        ),
        AuthError,
        "Postgres refuses the login: {reason}; check the user in {option} and the secret that {option}-password names",
    ),
    Rule(
        ("42501",),
        (r"permission denied",),
        MisconfiguredError,
        "the user lacks a right: {reason}; grant it (scripts/roles grants all that the job needs)",
    ),
    Rule(
        ("3D", "3F", "25006"),
        (
            r'database ".*" does not exist',
            r"server does not support SSL",
            r"certificate verify failed",
            r"(?:root certificate|certificate|private key) file .* does not exist",
            r"could not (?:load|read) (?:root certificate|certificate|private key) file",
            r"private key file .* (?:group or world|must)",
            r"server certificate for .* does not match host name",
        ),
        MisconfiguredError,
        "Postgres cannot be used as configured: {reason}; correct {option} or the server",
    ),
    DUPLICATE_KEY,
    Rule(("22", "23", "54"), (), BadDataError, "Postgres does not accept the rows: {reason}; correct the contract or the data"),
    Rule(("53100",), (), TemporaryError, "Postgres has no space left; no change was committed, free some space and run it again"),
    UNREACHABLE,
    Rule(
        ("25", "40", "53", "55", "57", "58"),
        (),
        TemporaryError,
        "Postgres stopped the work: {reason}; no change was committed, run it again later",
    ),
)
_SEVERITY = re.compile(r"(?:FATAL|PANIC|ERROR):\s*")


def translate_error(where: str, text: str, sqlstate: str | None, *, detail: str = "", option: str = "--warehouse") -> JobError | None:
    """Return the job's error for a failure of Postgres; None for one that only a bug in the job explains, such as a syntax error.

    `text` is the driver's message, `sqlstate` the server's code, None where the driver had none: then the connection was not made or is
    lost. `detail` names the columns of a duplicate key, `option` the option of the database. The message begins with `where` and shows no
    value of a row but what the server's primary message has.
    """

    def matches(rule: Rule) -> bool:
        return sqlstate.startswith(rule.sqlstates) if sqlstate else any(re.search(words, text) for words in rule.texts)

    rule = next(filter(matches, RULES), None if sqlstate else UNREACHABLE)
    return rule and rule.error(f"{where}: {rule.message.format(reason=server_message(text), detail=detail, option=option)}")


def quote_name(name: str) -> str:
    """Quote an identifier for SQL, where no driver does it. It may contain any character."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote a text literal for SQL, where no driver does it."""
    return "'" + text.replace("'", "''") + "'"


def server_message(text: str) -> str:
    """Return the primary message, on one line: without the driver's words before it and the details, hints and SQL after it.

    Where no severity marks the server's message: psycopg2 begins with the message and goes on with its details; libpq, whose text names
    every address that it tried, ends with the last of them.
    """
    text = text.partition("\nQuery was:")[0].strip()
    *_, message = _SEVERITY.split(text)
    lines = message.splitlines() or ["no message"]
    is_last = message == text and "connection to server" in text
    return " ".join((lines[-1] if is_last else lines[0]).split())


def lock_key(*parts: str) -> int:
    """Return the 64-bit key of an advisory lock, such as that of a lake partition: `lock_key("partition", dataset, partition)`."""
    return int.from_bytes(hashlib.sha256("\0".join(("finelt", *parts)).encode()).digest()[:8], signed=True)


def staging_name(dataset: str, partition: str) -> str:
    """Return the name of a lake partition's staging table. Only the holder of the partition's lock may touch that table."""
    return f"{dataset}~{lock_key(dataset, partition) & 0xFFFFFFFFFFFF:012x}"
