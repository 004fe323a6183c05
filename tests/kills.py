"""Runs that are killed at failpoints, in the process of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

ADDING_A_SNAPSHOT = ("before snapshot", "before iceberg commit", "after iceberg commit")


class KilledError(BaseException):
    """Ends the job like a kill: no handler of ours catches it."""


def run_with_kills(run: Callable[[], object], names: Sequence[str], rounds: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run once per failpoint in each round, killed there if it gets there, then once to the end. Return the number of kills."""
    kills = 0
    for name in [*names] * rounds:

        def hit(reached: str, name: str = name) -> None:
            if reached == name:
                raise KilledError

        with monkeypatch.context() as patched:
            patched.setattr(failpoints, "hit", hit)
            try:
                run()
            except KilledError:  # once, also if several threads got there
                kills += 1
                continue
    run()
    return kills
