"""What every extractor does around its own two parts: ask, shape, hold against the contract, commit."""

from __future__ import annotations

import importlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import changes, redaction, secrets
from jobkit import contract as contracts
from jobkit.errors import BadDataError, DamagedError, TemporaryError, UsageError
from jobkit.extract import contract, partitions
from jobkit.lake import Commit, CommitDraft, Lake, PartitionState, Source, SourceMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobkit.command import Job
    from jobkit.contract import Columns, Contract, ValidationResult
    from jobkit.errors import JobError
    from jobkit.extract import Ask, Extractor
    from jobkit.http import Answer, Client

    Answered = tuple[Ask, list[PartitionState], Answer | None]

MAX_IN_FLIGHT = 4  # questions under way at once; the client's rate holds whatever this is
LOOKS = 8  # partitions looked at in the lake at once


class ShrunkenAnswerError(TemporaryError):
    """An answer leaves out rows that the lake holds: cut short or withdrawn, which only time or a person can tell."""


class ShrunkenReplayError(BadDataError):
    """Today's parser and contract make fewer rows of the kept bytes than were made of them before."""


class Fill(NamedTuple):
    """What filling partitions works with."""

    job: Job
    lake: Lake
    extractor: Extractor
    allow_shrinking: bool


def run(job: Job, extractor: Extractor, asks: Sequence[Ask], *, lake: str, replay: bool, allow_shrinking: bool = False) -> None:
    """Fill the partitions of all questions, each committed on its own. A refusal of one does not keep the others out; it is raised last."""
    fill = Fill(job, Lake(lake), extractor, allow_shrinking)
    rules = {dataset: contract(extractor.package, dataset) for dataset in {ask.dataset for ask in asks}}
    failures: list[JobError] = []
    if replay:
        for done, ask in enumerate(asks, 1):
            failures += _replay(fill, ask, rules[ask.dataset])
            job.progress(done, len(asks), ask.dataset)
    else:
        with extractor.client() as client:
            for done, (ask, states, answer) in enumerate(_answers(extractor, client, asks, fill.lake), 1):
                if answer and answer.content is None:
                    for state in states:
                        tell(job, state.head, committed=False)
                else:
                    failures += _fill(fill, ask, states, answer, rules[ask.dataset])
                job.progress(done, len(asks), f"{ask.dataset} {ask.partitions[-1]}")
    if failures:
        first, others = failures[0], len(failures) - 1
        raise type(first)(str(first) + (f" (and {others:,} more partitions, see the receipt)" if others else ""))


def check(extractor: Extractor, asks: Sequence[Ask], *, lake: str, replay: bool) -> None:
    """Nothing, when the contracts read, the lake may be written and the vendor would answer the first question."""
    store = Lake(lake).store
    for dataset in {ask.dataset for ask in asks}:
        contract(extractor.package, dataset)
        store.put(f"raw/{dataset}/_check", b"written by the verb check\n")  # where the job may write, and nowhere else
    if not replay and asks:
        with extractor.client() as client:
            client.reach(asks[0].path, asks[0].params)


def plan(asks: Sequence[Ask], *, lake: str) -> list[dict[str, Any]]:
    """The partitions that would be asked for, and what the lake holds of them: nothing where the newest commit is damaged."""
    store = Lake(lake)
    states = ((ask, partition, store.read_state(ask.dataset, partition)) for ask in asks for partition in ask.partitions)
    return [
        {
            "dataset": ask.dataset,
            "partition": partition,
            "asks": ask.path,
            "commit": state.latest_number if state.head and not state.problem else None,
        }
        for ask, partition, state in states
    ]


def _answers(extractor: Extractor, client: Client, asks: Sequence[Ask], lake: Lake) -> Iterator[Answered]:
    """Each question, what the lake holds of its partitions and the answer; in order, a few under way at once.

    The answer is None where the vendor knows nothing of a request that only states back.
    """
    from jobkit.http import MissingError  # noqa: PLC0415  describe needs no network

    looking = ThreadPoolExecutor(LOOKS)

    def answer(ask: Ask) -> Answered:
        states = list(looking.map(lambda partition: lake.read_state(ask.dataset, partition), ask.partitions))
        known = _known(states, client.url(ask.path, ask.params).removeprefix(client.base_url))
        if known and not all(looking.map(lambda state: _is_intact(lake, state), states)):
            known = None  # the vendor has to send everything, so that what is damaged can be rewritten
        try:
            return ask, states, extractor.fetch(client, ask, known)
        except MissingError:
            if not partitions([ask]) <= extractor.lookback:
                raise
            return ask, states, None

    pool = ThreadPoolExecutor(MAX_IN_FLIGHT)
    waiting: deque[Future[Answered]] = deque()
    try:
        for ask in asks:
            waiting.append(pool.submit(answer, ask))
            if len(waiting) > MAX_IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        looking.shutdown(wait=False, cancel_futures=True)


def _known(states: list[PartitionState], question: str) -> Source | None:
    """The one answer to this very question that all its partitions were made from; only then may the vendor say `unchanged`."""
    sources = {state.head.source[-1] if state.head and state.head.source and not state.problem else None for state in states}
    source = sources.pop() if len(sources) == 1 else None
    return source if source and (source.etag or source.last_modified) and source.url.endswith(question) else None


def _is_intact(lake: Lake, state: PartitionState) -> bool:
    return state.head is not None and not any(lake.find_problem(file) for file in state.head.files)


def _fill(fill: Fill, ask: Ask, states: list[PartitionState], answer: Answer | None, rules: Contract) -> list[JobError]:
    """Commit an answer's partitions; none where there is no answer. Gives why some are refused."""
    shaped = _parsed(fill.extractor.package, answer, ask) if answer else {}  # the bytes are gone before the rows are typed

    @cache
    def keep() -> tuple[Source, ...]:
        if answer is None:
            return ()
        about = SourceMetadata(*map(redaction.clean, (answer.url, answer.media_type, answer.etag, answer.last_modified)))
        return (fill.lake.store_source(ask.dataset, answer.body or b"", about),)

    failures: list[JobError] = []
    for partition, state in zip(ask.partitions, states, strict=True):
        try:
            columns = shaped.pop(partition) if partition in shaped else _withdrawn(fill, rules, partition, state)
            if columns is not None:
                good = contracts.validate(rules, columns)
                commit(
                    fill.job, fill.lake, rules, partition, good, keep,
                    refuse=_refuse_answer, allow_shrinking=fill.allow_shrinking, state=state,
                )  # fmt: skip
        except (ShrunkenAnswerError, DamagedError) as error:
            failures.append(_failed(fill.job, rules.dataset, partition, error))
    return failures


def _withdrawn(fill: Fill, rules: Contract, partition: str, state: PartitionState) -> Columns | None:
    """What becomes of a partition that an answer has nothing of: no rows where the lake has some and they may go, else None.

    Rows of a partition that is only looked back at stay in any case. Raises DamagedError where the lake's own newest commit is damaged.
    """
    if state.problem:
        raise DamagedError(f"{state.problem}; the vendor has no data for {partition}")
    held = state.head.data.rows if state.head else 0
    if held and fill.allow_shrinking and (rules.dataset, partition) not in fill.extractor.lookback:
        return _no_rows(rules)
    reason = "the vendor has no data for it"
    if state.head and held:
        reason += f" any more; the lake keeps the {held:,} rows of commit {state.head.number}, --allow-shrinking closes them"
        fill.job.log.warning("withdrawn", extra={"dataset": rules.dataset, "partition": partition, "rows": held, "reason": reason})
    fill.job.outcome(rules.dataset, partition, "skipped", reason=reason)
    return None


def _no_rows(rules: Contract) -> Columns:
    return {field.name: [] for field in rules.fields}


def _refuse_answer(told: str) -> JobError:
    return ShrunkenAnswerError(f"{told}; try again later, or run once with --allow-shrinking if the vendor is right")


def _refuse_replay(told: str) -> JobError:
    return ShrunkenReplayError(f"{told}; look at parser and contract, or run once with --allow-shrinking if that is right")


def _failed(job: Job, dataset: str, partition: str, error: JobError) -> JobError:
    job.log.warning("partition failed", extra={"dataset": dataset, "partition": partition, "reason": str(error)})
    job.outcome(dataset, partition, "failed", reason=str(error))
    return error


def _parsed(package: str, answer: Answer, ask: Ask) -> dict[str, Columns]:
    """An answer as `_shaped` has it, read once. Raises BadDataError where it holds the secret that was sent."""
    body = answer.body or b""
    secrets.refuse_echo(body, f"{ask.path} for {ask.dataset}")
    return _shaped(package, body, ask)


def _shaped(package: str, body: bytes, ask: Ask) -> dict[str, Columns]:
    """The vendor's bytes as columns by partition, without those for which it has no data; by the extractor's own module for it."""
    shaped: dict[str, Columns] = importlib.import_module(f"{package}.shape").shape(body, ask)
    return shaped


def _replay(fill: Fill, ask: Ask, rules: Contract) -> list[JobError]:
    """Shape the kept bytes of each partition again. Gives why some are refused. Raises UsageError where none were kept."""
    failures: list[JobError] = []
    for partition in ask.partitions:
        state = fill.lake.read_state(ask.dataset, partition)
        if not state.latest_number and (ask.dataset, partition) in fill.extractor.lookback:
            continue
        try:
            _replay_one(fill, ask, rules, partition, state)
        except BadDataError as error:
            failures.append(_failed(fill.job, rules.dataset, partition, error))
    return failures


def _replay_one(fill: Fill, ask: Ask, rules: Contract, partition: str, state: PartitionState) -> None:
    if state.problem:  # an older commit's bytes would bring back what was known before
        raise DamagedError(f"{state.problem}; --replay has nothing newer to read")
    head = state.head
    if head is None:
        raise UsageError(f"nothing to replay for {ask.dataset}/{partition}: it was never extracted; run without --replay first")
    shaped = _shaped(fill.extractor.package, fill.lake.read(head.source[-1]), ask)
    good = contracts.validate(rules, shaped[partition] if partition in shaped else _no_rows(rules))
    commit(
        fill.job, fill.lake, rules, partition, good, lambda: fill.lake.check_sources(head.source),
        refuse=_refuse_replay, allow_shrinking=fill.allow_shrinking, state=state,
    )  # fmt: skip


def commit(
    job: Job,
    lake: Lake,
    rules: Contract,
    partition: str,
    good: ValidationResult,
    source: Callable[[], tuple[Source, ...]],
    *,
    refuse: Callable[[str], JobError],
    allow_shrinking: bool,
    state: PartitionState | None = None,
) -> None:
    """Make what keeps the contract the partition, with what does not in quarantine; the receipt says what became of it.

    `source` keeps the bytes that the rows come from; called only where there is something new. Where more of the rows held are missing
    than the contract allows, nothing is committed and what `refuse` makes of a sentence is raised, unless shrinking is allowed.
    """
    for warning in good.warnings[:5]:
        job.log.warning("contract", extra={"dataset": rules.dataset, "partition": partition, "breach": warning})
    draft = build_draft(good, source, key=rules.key, leaf=rules.leaf, writer={"job": job.name, "version": job.version})
    change = changes.Change(draft.rows, 0, 0)

    def review(head: Commit) -> None:
        nonlocal change
        change = measure_change(lake, rules, good, head, refuse=refuse, allow_shrinking=allow_shrinking)

    state, repaired = state or lake.read_state(rules.dataset, partition), len(lake.repaired)
    made, is_new = lake.commit(rules.dataset, partition, draft, state=state, review=review)
    counts = {"dropped": good.dropped, "warnings": len(good.warnings)}
    details: dict[str, Any] = {name: count for name, count in counts.items() if count}
    if is_new:
        details |= {"rows_added": change.added, "rows_closed": change.closed}
        _warn_missing(job, made, change)
    if lake.repaired[repaired:]:
        details["repaired"] = lake.repaired[repaired:]
    if is_new and state.problem:
        details["healed"] = state.problem
    tell(job, made, committed=is_new, **details)


def build_draft(
    good: ValidationResult, source: Callable[[], tuple[Source, ...]], *, key: tuple[str, ...], leaf: str, writer: dict[str, str]
) -> CommitDraft:
    """Rows that keep a contract, and those in quarantine, as the Parquet files of a commit."""
    bad = good.quarantine
    return CommitDraft(
        data=contracts.parquet(good.table),
        rows=good.table.num_rows,
        quarantine=contracts.parquet(bad) if bad else None,
        quarantined=bad.num_rows if bad else 0,
        source=source,
        key=key,
        leaf=leaf,
        writer=writer,
        dropped=good.dropped,
    )


def measure_change(
    lake: Lake, rules: Contract, good: ValidationResult, head: Commit, *, refuse: Callable[[str], JobError], allow_shrinking: bool
) -> changes.Change:
    """What the rows would change of a commit. Raises what `refuse` makes of a sentence as `commit` does."""
    change = changes.measure(lake, head, good, rules.key)
    if change.missing > rules.max_missing_rows * head.data.rows and not allow_shrinking:
        raise refuse(
            f"{head.dataset}/{head.partition}: {change.missing:,} of the {head.data.rows:,} rows of commit {head.number} are missing from "
            f"what came, which has {good.table.num_rows:,}; nothing was committed and they stay"
        )
    return change


def _warn_missing(job: Job, made: Commit, change: changes.Change) -> None:
    if change.missing:
        told = {"dataset": made.dataset, "partition": made.partition, "commit": made.number, "rows": change.missing}
        job.log.warning("rows closed that were not sent again", extra=told)


def tell(job: Job, commit: Commit | None, *, committed: bool, **details: Any) -> None:  # noqa: ANN401  free JSON
    """Say in the receipt what became of the commit's partition."""
    if commit is None:  # a vendor that says `unchanged` of what we never had
        raise UsageError("the vendor says nothing changed, but the lake holds nothing; run again")
    job.outcome(
        commit.dataset,
        commit.partition,
        "committed" if committed else "unchanged",
        rows=commit.data.rows,
        bytes=commit.data.bytes,
        sha256=commit.data.sha256,
        quarantined=commit.quarantine.rows if commit.quarantine else 0,
        commit=commit.number,
        **details,
    )
