"""What an extractor declares: options, questions to the vendor, how it is asked. `describe` needs this much and no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from jobkit import command
from jobkit import options as shared
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from click import Option

    from jobkit.answers import Meaning
    from jobkit.command import Job
    from jobkit.contract import Contract
    from jobkit.http import Answer, Client
    from jobkit.lake import Source


class Ask(NamedTuple):
    """One question to the vendor: where, with what parameters, and which partitions of which dataset its answer fills."""

    dataset: str
    partitions: tuple[str, ...]
    path: str
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Extractor:
    """What an extractor adds: how to reach the vendor and how to ask; what its bytes mean says `shape` in the package's module `shape`.

    `client` is called only where the network is needed. `lookback` holds the partitions, each with its dataset, that are requested only
    because they may have changed: it is no error if the vendor has nothing for them.
    """

    package: str
    client: Callable[[], Client]
    fetch: Callable[[Client, Ask, Source | None], Answer]
    lookback: frozenset[tuple[str, str]] = frozenset()


def fetch(client: Client, ask: Ask, known: Source | None) -> Answer:
    """The vendor's answer to one question: a plain GET, conditional where something is known."""
    return client.get(ask.path, ask.params, known)


def build(
    package: str,
    options: Sequence[Option],
    *,
    asks: Callable[..., list[Ask]],
    client: Callable[..., Client],
    fetch: Callable[[Client, Ask, Source | None], Answer] = fetch,
    answers: Sequence[Meaning] = (),
) -> Callable[[], NoReturn]:
    """The console command of an extractor. `asks` and `client` take all its options by name, `client` the declared hosts before them.

    `answers` is the table of what its vendor answers besides data.
    """

    def extractor(job: Job, given: dict[str, Any], patience: float) -> Extractor:
        def patient() -> Client:
            asked = client(job.hosts, **given)
            asked.retry_timeout_s = min(patience, job.deadline_s)
            asked.max_body_bytes, asked.meanings = job.max_body_bytes, answers
            return asked

        return Extractor(package, patient, fetch, _lookback(asks, given))

    def run_(job: Job, *, lake: str, replay: bool, patience: float, allow_shrinking: bool, **given: Any) -> None:  # noqa: ANN401
        """Ask the vendor and commit what it answers, partition by partition."""
        from jobkit import extraction  # noqa: PLC0415  describe fills nothing

        extraction.run(job, extractor(job, given, patience), asks(**given), lake=lake, replay=replay, allow_shrinking=allow_shrinking)

    def check_(job: Job, *, lake: str, replay: bool, patience: float, allow_shrinking: bool, **given: Any) -> None:  # noqa: ANN401, ARG001
        from jobkit import extraction  # noqa: PLC0415

        extraction.check(extractor(job, given, patience), asks(**given), lake=lake, replay=replay)

    def plan_(_job: Job, *, lake: str, replay: bool, **given: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
        from jobkit import extraction  # noqa: PLC0415

        return extraction.plan(asks(**given), lake=lake)

    return command.build(
        package,
        [shared.lake(), *options, shared.patience(), shared.replay(), shared.allow_shrinking()],
        run=run_,
        check=check_,
        plan=plan_,
        answers=answers,
    )


def _lookback(asks: Callable[..., list[Ask]], given: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """The partitions that --lookback-days adds to those between --start and --end."""
    if not given.get("lookback_days"):
        return frozenset()
    return partitions(asks(**given)) - partitions(asks(**{**given, "lookback_days": 0}))


def partitions(asks: Iterable[Ask]) -> frozenset[tuple[str, str]]:
    """The partitions that the answers fill, each with its dataset."""
    return frozenset((ask.dataset, partition) for ask in asks for partition in ask.partitions)


def years(start: date, end: date, lookback_days: int = 0) -> range:
    """The calendar years that a range of dates touches, and the days before it. Raises UsageError where it runs backwards."""
    return range(first_day(start, end, lookback_days).year, end.year + 1)


def first_day(start: date, end: date, lookback_days: int) -> date:
    """The first day to request: --start, or as many days earlier. Raises UsageError where the range runs backwards."""
    in_order(start, end)
    return start - timedelta(days=min(lookback_days, (start - date.min).days))


def in_order(start: date, end: date) -> None:
    """Nothing, when start is not after end. Raises UsageError otherwise."""
    if start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them")


def contract(package: str, dataset: str) -> Contract:
    """The contract of a dataset, from <dataset>.odcs.yaml beside the extractor's code."""
    from importlib import resources  # noqa: PLC0415  describe reads no contract
    from pathlib import Path  # noqa: PLC0415

    from jobkit import contract as contracts  # noqa: PLC0415

    with resources.as_file(resources.files(package) / f"{dataset}.odcs.yaml") as path:
        return contracts.load(Path(path))
