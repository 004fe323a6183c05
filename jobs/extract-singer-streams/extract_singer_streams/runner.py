"""Run a tap and commit its streams, so that a run that died is made good by the next one.

A stream is one partition of its dataset. Its commit keeps the current records as the tap wrote them, as the source of their typed rows.
The tap's state is part of the commit of the last stream, which comes after those of the others: a run that dies before leaves rows that are
ahead of the state. The tap sends those again, and the same records under the same keys change nothing.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import contracts, failpoints, partition_writer, redaction, secrets
from jobkit.errors import BadDataError, DamagedError, MisconfiguredError, TemporaryError, UsageError
from jobkit.lake import STATE, Lake, PartitionState, Source, SourceMetadata

from extract_singer_streams import messages, tap
from extract_singer_streams.messages import ActivateVersion, Record, Schema, State, Unwanted
from extract_singer_streams.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobkit.command import Job
    from jobkit.contracts import Contract

    from extract_singer_streams.messages import Message
    from extract_singer_streams.stream import Key

MEDIA_TYPE = "application/x-ndjson"
MAX_STATE_CHARS = 1 << 20  # it is part of a commit, which every reader of the lake reads


class Connection(NamedTuple):
    """What a run is given: the place of the lake, the tap, and the dataset of each stream."""

    lake: str
    connection: str
    tap: str
    stream: tuple[str, ...]
    contracts: str | None
    tap_config: str | None
    tap_secrets: str | None
    tap_catalog: str | None


class Resume(NamedTuple):
    """Where the tap goes on: its own state, as it wrote it (None at the beginning), and the version of each stream's table.

    covered: the streams whose records up to the state are stored, as STREAM=DATASET.
    """

    state: str | None
    versions: dict[str, int]
    covered: tuple[str, ...] = ()


class Target(NamedTuple):
    """A stream, what the lake has of its partition, and the keys of the records in it."""

    stream: Stream
    before: PartitionState
    keys: frozenset[Key]


class ShrunkenStreamError(TemporaryError):
    """A full table lacks rows that the lake has, and the tap deleted none of them."""


def run(job: Job, connection: Connection, *, full_refresh: bool, allow_shrinking: bool) -> None:
    """Run the tap from its last state and commit what it sends.

    If the tap fails, what it sent is committed up to its last state, and TapError (75) is raised; after a full refresh nothing is. Raises
    BadDataError (65) for output that is no Singer stream or breaks a contract, MisconfiguredError (78) for settings that are wrong.
    """
    lake, datasets = Lake(connection.lake), _read_streams(connection)
    states = [lake.read_state(dataset, _partition(connection)) for dataset in datasets.values()]
    resume = Resume(None, {}) if full_refresh else _read_resume(states, datasets)
    targets = [
        _open_target(lake, name, _load_contract(connection, dataset), state, resume, full_refresh=full_refresh)
        for (name, dataset), state in zip(datasets.items(), states, strict=True)
    ]
    resume, failure = _read_tap(job, connection, targets, resume)
    if failure and (full_refresh or not any(target.stream.schema for target in targets)):
        raise failure
    if not failure:
        _check_sent(job, targets)
    _commit_all(job, lake, connection, targets, resume, allow_shrinking=allow_shrinking)
    if failure:
        raise failure


def check(job: Job, connection: Connection) -> None:
    """Load the contracts, test that the lake can be written, and run the tap with --discover, which tests its credentials."""
    store = Lake(connection.lake).store
    for dataset in _read_streams(connection).values():
        store.put(f"raw/{dataset}/_check", b"written by the verb check\n")
        _load_contract(connection, dataset)
    config = tap.read_config(connection.tap_config, connection.tap_secrets)
    with tap.start(connection.tap, config, "--discover") as running:
        for _ in running.read_lines(job.max_body_bytes):
            pass
        running.wait()


def plan(connection: Connection) -> list[dict[str, Any]]:
    """List the partition of each stream with the number of its latest commit; None if there is no intact one."""
    lake, partition = Lake(connection.lake), _partition(connection)
    return [
        {"dataset": dataset, "partition": partition, "asks": name, "commit": lake.read_state(dataset, partition).intact_number}
        for name, dataset in _read_streams(connection).items()
    ]


def apply(streams: Sequence[Stream], sent: Iterable[Message], resume: Resume) -> Resume:
    """Apply the messages of a tap to its streams, and return the last state that they cover.

    A state is covered once no stream has records of a version that is not active yet: without them, the tap has to send them again.
    Versions are those of the state. A tap that keeps a version keeps it in its state; one that is new in each run says nothing to the next
    run, and would make a commit without a change.
    """
    by_name, state = {stream.name: stream for stream in streams}, resume.state
    for message in sent:
        if isinstance(message, State):
            state = message.value if not any(stream.staged for stream in streams) else state
        elif stream := by_name.get(message.stream):
            if isinstance(message, Schema):
                stream.apply_schema(message)
            elif isinstance(message, Record):
                stream.apply_record(message)
            elif isinstance(message, ActivateVersion):
                stream.activate(message.version)
    if state == resume.state:
        return resume
    return Resume(state, _list_versions(streams), tuple(sorted(_name(stream.name, stream.contract.dataset) for stream in streams)))


def _list_versions(streams: Sequence[Stream]) -> dict[str, int]:
    return {stream.name: stream.version for stream in streams if stream.version is not None}


def _name(stream: str, dataset: str) -> str:
    return f"{stream}={dataset}"


def _read_streams(connection: Connection) -> dict[str, str]:
    """Return the dataset of each stream. Raises UsageError (2) for a stream without one, and for two with the same."""
    found: dict[str, str] = {}
    for word in connection.stream:
        name, _, dataset = word.rpartition("=")
        if not name or not dataset or name in found or dataset in found.values():
            raise UsageError(f"--stream {word!r} is not STREAM=DATASET, or names one of them twice; expected such as orders=acme_orders")
        found[name] = dataset
    return found


def _load_contract(connection: Connection, dataset: str) -> Contract:
    """Return the contract of a dataset. Raises MisconfiguredError (78) if there is none, BadDataError (65) if it is no contract of it."""
    folder = Path(connection.contracts) if connection.contracts else Path(str(resources.files(__package__ or "")))
    path = folder / f"{dataset}.odcs.yaml"
    if not path.exists():
        raise MisconfiguredError(f"there is no contract {path}; `finelt try` proposes one from the tap's output")
    contract = contracts.load(path)
    if contract.dataset != dataset or not contract.key:
        raise BadDataError(f"{path} is the contract of {contract.dataset!r} or has no primaryKey; expected {dataset} with a key")
    return contract


def _partition(connection: Connection) -> str:
    return f"connection={connection.connection}"


def _read_resume(states: Sequence[PartitionState], datasets: Mapping[str, str]) -> Resume:
    """Return the newest state of the connection.

    Raises MisconfiguredError (78) if it does not cover a stream, which joined later or was left out for a while: it is past its records.
    """
    heads = [state.head for state in states]
    carriers = [head for head in heads if head and STATE in head.writer]
    if not carriers:
        return Resume(None, {})
    document = json.loads(max(carriers, key=lambda head: head.known).writer[STATE])
    resume = Resume(document["state"], document["versions"], tuple(document.get("covered", ())))
    names = zip(datasets.items(), heads, strict=True)
    missed = [name for (name, dataset), head in names if head is None or _name(name, dataset) not in resume.covered]
    if missed and resume.state is not None:
        raise MisconfiguredError(
            f"the stream {missed[0]!r} was not part of the run that made the tap's state, which is past records of it; run once with "
            "--full-refresh, or give the stream a --connection of its own"
        )
    return resume


def _open_target(lake: Lake, name: str, contract: Contract, state: PartitionState, resume: Resume, *, full_refresh: bool) -> Target:
    """Return a stream with the records of its latest commit; of a full refresh only their keys.

    Raises DamagedError (65) if they cannot be read, unless they are replaced.
    """
    stream = Stream(name, contract, version=resume.versions.get(name))
    try:
        stream.read_snapshot(_read_snapshot(lake, state))
    except DamagedError as error:
        if full_refresh:
            return Target(Stream(name, contract), state, frozenset())
        raise DamagedError(f"{contract.dataset}: {error}; run once with --full-refresh") from None
    keys = frozenset(stream.rows)
    return Target(Stream(name, contract) if full_refresh else stream, state, keys)


def _read_snapshot(lake: Lake, state: PartitionState) -> bytes:
    """Return the records of the latest commit; empty without any. Raises DamagedError (65) if they are gone."""
    if state.problem:
        raise DamagedError(state.problem)
    if state.head and not state.head.source:
        raise DamagedError("the tap's records were erased with a person")
    return lake.read(state.head.source[-1]) if state.head else b""


def _read_tap(job: Job, connection: Connection, targets: Sequence[Target], resume: Resume) -> tuple[Resume, tap.TapError | None]:
    """Run the tap and apply its messages. Returns the last covered state, and the error of a tap that failed."""
    streams, ignored = [target.stream for target in targets], set[str]()
    names, size = frozenset(stream.name for stream in streams), 0

    def read() -> Iterable[Message]:
        nonlocal size
        for number, line in enumerate(running.read_lines(job.max_body_bytes), 1):
            message = messages.parse(line, number, names)
            if isinstance(message, Unwanted):
                ignored.add(message.stream)
                continue
            size += len(line)
            _check_size(job, size)
            yield message

    config = tap.read_config(connection.tap_config, connection.tap_secrets)
    failure = None
    with tap.start(connection.tap, config, state=resume.state, catalog=connection.tap_catalog) as running:
        resume = apply(streams, read(), resume)
        try:
            running.wait()
        except tap.TapError as error:
            failure = error
    if not failure:
        for stream in streams:
            stream.finish()
    if ignored:
        shown = ", ".join(map(repr, sorted(ignored)[:10]))
        job.log.warning("streams without a dataset are not stored; name them in --stream or deselect them", extra={"streams": shown})
    return resume, failure


def _check_size(job: Job, size: int) -> None:
    if size > job.max_body_bytes:
        raise BadDataError(
            f"the tap's messages or a stream's records have more than {job.max_body_bytes:,} bytes; raise max_body_mib and memory in the "
            "job's pyproject.toml, or give the tap a later start"
        )


def _check_sent(job: Job, targets: Sequence[Target]) -> None:
    """Warn of streams that the tap never sent: a stream without records may be silent.

    Raises MisconfiguredError (78) if it sent none at all, and none is in the lake.
    """
    silent = [target.stream.name for target in targets if target.stream.schema is None and target.before.head is None]
    if len(silent) == len(targets):
        raise MisconfiguredError(f"the tap sent no stream {silent[0]!r}; look at --stream, and at what --tap-catalog selects")
    if silent:
        shown = ", ".join(map(repr, silent[:10]))
        job.log.warning(
            "the tap sent nothing of some streams; look at --stream, and at what --tap-catalog selects", extra={"streams": shown}
        )


def _commit_all(job: Job, lake: Lake, connection: Connection, targets: Sequence[Target], resume: Resume, *, allow_shrinking: bool) -> None:
    """Validate all streams, then commit them one by one, with the state in the last commit."""
    state = json.dumps(resume._asdict(), sort_keys=True)
    secrets.refuse_echo(state.encode(), "the tap's state")
    if len(state) > MAX_STATE_CHARS:
        raise BadDataError(f"the tap's state has {len(state):,} characters, more than {MAX_STATE_CHARS:,}; report it to its maintainers")
    results = [_validate(job, target, allow_shrinking=allow_shrinking) for target in targets]
    for number, (target, result) in enumerate(zip(targets, results, strict=True), 1):
        contract, snapshot = target.stream.contract, target.stream.format_snapshot()

        def store_source(contract: Contract = contract, snapshot: bytes = snapshot, name: str = target.stream.name) -> tuple[Source, ...]:
            metadata = SourceMetadata(redaction.redact(f"singer:{connection.connection}/{name}"), MEDIA_TYPE, None, None)
            return (lake.store_source(contract.dataset, snapshot, metadata),)

        with failpoints.surround("stream"):
            outcome = partition_writer.commit(
                job, lake, contract, _partition(connection), result, store_source,
                shrunken=ShrunkenStreamError, allow_shrinking=True, state=target.before, is_merged=True,
                connector_state=state if number == len(targets) else None,
            )  # fmt: skip
        partition_writer.record(job, outcome)
        job.progress(number, len(targets), target.stream.name)


def _validate(job: Job, target: Target, *, allow_shrinking: bool) -> contracts.ValidationResult:
    """Validate the records of a stream.

    Raises BadDataError (65) if too many of those that the tap sent now are bad, whatever the number of older ones, and ShrunkenStreamError
    (75) if records are gone that the tap did not delete.
    """
    stream, contract = target.stream, target.stream.contract
    snapshot = stream.format_snapshot()
    _check_size(job, len(snapshot))
    secrets.refuse_echo(snapshot, f"the tap for {contract.dataset}")
    lost = stream.count_lost(target.keys)
    if lost > contract.max_missing_rows * len(target.keys) and not allow_shrinking:
        raise ShrunkenStreamError(
            f"{contract.dataset}: the tap's new table of {stream.name!r} lacks {lost:,} of {len(target.keys):,} records that it had; "
            "nothing was committed. Run it again later, or once with --allow-shrinking if they are gone"
        )
    if stream.changed and target.keys:
        contracts.validate(contract, stream.build_columns([key for key in stream.rows if key in stream.changed]))
    return contracts.validate(contract, stream.build_columns())
