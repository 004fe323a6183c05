"""What every extractor does around its own two parts: ask, shape, hold against the contract, commit."""

from __future__ import annotations

import importlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from jobkit import contract as contracts
from jobkit.errors import UsageError
from jobkit.extract import contract, partitions
from jobkit.lake import About, Commit, Draft, Lake, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobkit.command import Job
    from jobkit.contract import Columns, Contract, Good
    from jobkit.extract import Ask, Extractor
    from jobkit.http import Answer, Client

    Answered = tuple[Ask, list[Commit | None], Answer | None]

AHEAD = 4  # questions under way at once; the client's rate holds whatever this is


def run(job: Job, extractor: Extractor, asks: Sequence[Ask], *, lake: str, replay: bool) -> None:
    """Fill the partitions of all questions, each committed on its own."""
    store = Lake(lake)
    rules = {dataset: contract(extractor.package, dataset) for dataset in {ask.dataset for ask in asks}}
    if replay:
        for done, ask in enumerate(asks, 1):
            _replay(job, store, extractor, ask, rules[ask.dataset])
            job.progress(done, len(asks), ask.dataset)
        return
    with extractor.client() as client:
        for done, (ask, heads, answer) in enumerate(_answers(extractor, client, asks, store), 1):
            if answer is None:
                for partition in ask.partitions:
                    _skip(job, ask.dataset, partition)
            elif answer.body is None:
                for head in heads:
                    tell(job, head, committed=False)
            else:
                _fill(job, store, extractor, ask, answer, rules[ask.dataset])
            job.progress(done, len(asks), f"{ask.dataset} {ask.partitions[-1]}")


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
    """The partitions that would be asked for, and what the lake holds of them."""
    store = Lake(lake)
    heads = ((ask, partition, store.head(ask.dataset, partition)) for ask in asks for partition in ask.partitions)
    return [
        {"dataset": ask.dataset, "partition": partition, "asks": ask.path, "commit": head.number if head else None}
        for ask, partition, head in heads
    ]


def _answers(extractor: Extractor, client: Client, asks: Sequence[Ask], lake: Lake) -> Iterator[Answered]:
    """Each question, the heads of its partitions and the answer; in order, a few under way at once.

    The answer is None where the vendor knows nothing of a request that only looks back.
    """
    from jobkit.http import MissingError  # noqa: PLC0415  describe needs no network

    def answer(ask: Ask) -> Answered:
        heads = [lake.head(ask.dataset, partition) for partition in ask.partitions]
        known = _known(heads, client.url(ask.path, ask.params).removeprefix(client.base_url))
        try:
            return ask, heads, extractor.fetch(client, ask, known)
        except MissingError:
            if not partitions([ask]) <= extractor.lookback:
                raise
            return ask, heads, None

    pool = ThreadPoolExecutor(AHEAD)
    waiting: deque[Future[Answered]] = deque()
    try:
        for ask in asks:
            waiting.append(pool.submit(answer, ask))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _known(heads: list[Commit | None], question: str) -> Source | None:
    """The one answer to this very question that all its partitions were made from; only then may the vendor say `unchanged`."""
    sources = {head.source[-1] if head and head.source else None for head in heads}
    source = sources.pop() if len(sources) == 1 else None
    return source if source and source.url.endswith(question) else None


def _fill(job: Job, lake: Lake, extractor: Extractor, ask: Ask, answer: Answer, rules: Contract) -> None:
    body = answer.body or b""
    shaped = _shaped(extractor, body, ask)

    def keep() -> tuple[Source, ...]:
        about = About(answer.url, answer.media_type, answer.etag, answer.last_modified)
        return (lake.keep(ask.dataset, body, about),)

    for partition in ask.partitions:
        if partition in shaped:
            commit(job, lake, rules, partition, contracts.enforce(rules, shaped[partition]), keep)
        else:
            _skip(job, ask.dataset, partition)


def _skip(job: Job, dataset: str, partition: str) -> None:
    job.outcome(dataset, partition, "skipped", reason="the vendor has no data for it")


def _shaped(extractor: Extractor, body: bytes, ask: Ask) -> dict[str, Columns]:
    """The vendor's bytes as columns by partition, without those for which it has no data; by the extractor's own module for it."""
    shaped: dict[str, Columns] = importlib.import_module(f"{extractor.package}.shape").shape(body, ask)
    return shaped


def _replay(job: Job, lake: Lake, extractor: Extractor, ask: Ask, rules: Contract) -> None:
    """Shape the kept bytes of each partition again. Raises UsageError where none were kept."""
    for partition in ask.partitions:
        head = lake.head(ask.dataset, partition)
        if head is None and (ask.dataset, partition) in extractor.lookback:
            continue
        if head is None:
            raise UsageError(f"nothing to replay for {ask.dataset}/{partition}: it was never extracted; run without --replay first")
        columns = _shaped(extractor, lake.read(head.source[-1]), ask)[partition]
        commit(job, lake, rules, partition, contracts.enforce(rules, columns), lambda source=head.source: source)  # type: ignore[misc]


def commit(job: Job, lake: Lake, rules: Contract, partition: str, good: Good, source: Callable[[], tuple[Source, ...]]) -> None:
    """Nothing; what keeps the contract is the partition, what does not is beside it, and the receipt says so.

    `source` keeps the bytes that the rows come from; called only where there is something new.
    """
    for warning in good.warnings[:5]:
        job.log.warning("contract", extra={"dataset": rules.dataset, "partition": partition, "breach": warning})
    draft = Draft(
        data=contracts.parquet(good.table),
        rows=good.table.num_rows,
        quarantine=contracts.parquet(good.quarantine) if good.quarantine else None,
        quarantined=good.quarantine.num_rows if good.quarantine else 0,
        source=source,
        key=rules.key,
        leaf=rules.leaf,
        writer={"job": job.name, "version": job.version},
        dropped=good.dropped,
    )
    made, committed = lake.commit(rules.dataset, partition, draft)
    counts = {"dropped": good.dropped, "warnings": len(good.warnings)}
    tell(job, made, committed=committed, **{name: count for name, count in counts.items() if count})


def tell(job: Job, commit: Commit | None, *, committed: bool, **details: int) -> None:
    """Nothing; the receipt says what became of the commit's partition."""
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
