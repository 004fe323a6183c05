"""The formats of what finelt stores, and the refusal of what a newer version wrote.

| stored | its format |
| --- | --- |
| commits of the lake | `format` in each commit (`jobkit.commits`) |
| the log of a dataset | `format` in each entry (`jobkit.commit_log`) |
| the record of an erasure | `format` in the record (`finelt.erasure.record`) |
| the expired commits of a partition | `format` in the record (`jobkit.expired_commits`) |
| a site | `format` in its pointer, latest.json |
| raw tables, ledger, quarantine | the last number in raw._migrations (`jobkit.migrations`) |
| the build log | the last number in ops._migrations |
| contracts | `apiVersion`, of the Open Data Contract Standard (`jobkit.contracts.odcs`) |

A newer program reads every older format. What was stored before it carried a format has the format 1, or 0 in the warehouse.
"""

from __future__ import annotations

from jobkit.errors import DamagedError, NewerFormatError

COMMIT = 4
ERASURE = 1
EXPIRED = 1
LOG = 1
SITE = 2


def check_format(what: str, written: object, known: int) -> int:
    """Return the format that something was written in.

    `what` begins the message. Raises NewerFormatError (exit code 78) for a newer one than `known`, DamagedError (65) for no number.
    """
    if type(written) is not int or written < 1:
        raise DamagedError(f"{what} is damaged: its format is {str(written)[:20]!r}, not a version number".lstrip())
    if written > known:
        raise NewerFormatError(
            f"{what} is of format {written}, and this version reads formats up to {known}; upgrade finelt where this job runs".lstrip()
        )
    return written
