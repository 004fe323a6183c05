"""The failures of a job, each with the exit code that its launcher sees.

    JobError
    |-- UsageError             2   an argument is invalid
    |-- BadDataError          65   the vendor's bytes or the warehouse's rows break their contract
    |   `-- DamagedError      65   a stored commit or file differs from what was written
    |-- TemporaryError        75   the same call may succeed later; the only code that is retried
    |-- AuthError          77   credentials were refused
    |-- MisconfiguredError    78   a path, permission or setting on our side is wrong
    |   `-- NewerFormatError  78   a newer version of finelt wrote the stored data
    `-- StoppedError         143   SIGTERM

Any other exception that escapes a job is a bug and exits with 70.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """How a job ended. `meaning` and `next_step` are one line each; `describe`, the job pages and the flows' messages show them.

    Numbers between 64 and 78 are those of sysexits.h; 128 + n is the shell's number for a process that signal n ended.
    """

    meaning: str
    next_step: str

    def __new__(cls, code: int, meaning: str, next_step: str) -> Self:
        """Create a member from its number and its two texts."""
        member = int.__new__(cls, code)
        member._value_, member.meaning, member.next_step = code, meaning, next_step
        return member

    DONE = 0, "done, or already done", "nothing to do"
    USAGE = 2, "usage: the arguments cannot be right", "correct the argument that the message names, then run it again"
    BAD_DATA = (
        65,
        "bad data: the input breaks its contract",
        "check the quarantine or the vendor's file, correct the contract or the parser, then run it again",
    )
    BUG = 70, "a bug in the job", "run it again; if it fails again, fix the job: the traceback is in the log"
    TEMPORARY = 75, "temporary: try again later", "run it again later; a scheduler may do so by itself"
    AUTH = 77, "credentials were refused", "correct or renew the credentials, then run `check`"
    MISCONFIGURED = (
        78,
        "misconfigured: a path, permission or setting is wrong",
        "correct the setting that the message names, then run `check`",
    )
    INTERRUPTED = 130, "interrupted from the keyboard", "run it again to finish"
    STOPPED = 143, "stopped by SIGTERM", "run it again to finish"


def next_step(exit_code: int) -> str:
    """Return what to do about an exit code; for a code that no job returns, the same as for a bug."""
    return next((code.next_step for code in ExitCode if code == exit_code), ExitCode.BUG.next_step)


class JobError(Exception):
    """A failure in one sentence: what is wrong, what was expected, where, and what to do next."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG


class UsageError(JobError):
    """An argument is invalid."""

    exit_code = ExitCode.USAGE


class BadDataError(JobError):
    """The input breaks its contract; the same input will break it again."""

    exit_code = ExitCode.BAD_DATA


class DamagedError(BadDataError):
    """A stored commit or file is missing, changed or in another's place."""


class TemporaryError(JobError):
    """The request is right; the same request may succeed later."""

    exit_code = ExitCode.TEMPORARY


class AuthError(JobError):
    """A server refused our credentials, or what they are allowed to do."""

    exit_code = ExitCode.AUTH


class MisconfiguredError(JobError):
    """A path, permission or setting on our side is wrong."""

    exit_code = ExitCode.MISCONFIGURED


class NewerFormatError(MisconfiguredError):
    """A newer version of finelt wrote the stored data; this version cannot read it."""


class StoppedError(JobError):
    """The launcher asked the job to stop."""

    exit_code = ExitCode.STOPPED
