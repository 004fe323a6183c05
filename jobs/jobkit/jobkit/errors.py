"""What can go wrong in a job, each with the exit code its launcher sees.

    JobError
    |-- UsageError          2   the command line asks for something that cannot be
    |-- BadDataError       65   the vendor's bytes or the warehouse's rows break their contract
    |   `-- DamagedError   65   a stored commit or file is not what was written
    |-- TemporaryError     75   the same call may succeed later; the only code worth a retry
    |-- RefusedError       77   credentials were refused
    |-- MisconfiguredError 78   a path, permission or setting on our side is wrong
    |   `-- NewerFormatError 78  a newer version wrote what is stored
    `-- StoppedError      143   SIGTERM

Anything else that escapes a job is a bug and ends as 70.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_BUG = 70

EXIT_CODES: dict[int, str] = {
    0: "done, or already done",
    2: "usage: the arguments cannot be right",
    65: "bad data: the input breaks its contract",
    70: "a bug in the job",
    75: "temporary: try again later",
    77: "credentials were refused",
    78: "misconfigured: a path, permission or setting is wrong",
    143: "stopped by SIGTERM",
}


class JobError(Exception):
    """A failure told in one sentence: what was wrong, what was expected, where, and what to do next."""

    exit_code: ClassVar[int] = EXIT_BUG


class UsageError(JobError):
    """The arguments cannot be right."""

    exit_code = 2


class BadDataError(JobError):
    """The input breaks its contract; the same input will break it again."""

    exit_code = 65


class DamagedError(BadDataError):
    """What is stored is not what was written: gone, changed, or in another's place."""


class TemporaryError(JobError):
    """Nothing is wrong with the request; trying again later may succeed."""

    exit_code = 75


class RefusedError(JobError):
    """The other side knows us and says no, or does not know us."""

    exit_code = 77


class MisconfiguredError(JobError):
    """Something on our side is set up wrongly."""

    exit_code = 78


class NewerFormatError(MisconfiguredError):
    """A newer version of finelt wrote what is stored; this one cannot read it."""


class StoppedError(JobError):
    """The launcher asked the job to stop."""

    exit_code = 143
