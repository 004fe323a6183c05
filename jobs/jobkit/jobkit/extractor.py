"""Build the console command of an extractor from its options, requests, client and parser.

`describe` imports this module, so `jobkit.extraction` and all that is heavy is imported when a verb runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from jobkit import command
from jobkit import options as shared
from jobkit.requests import Extractor, Request, VendorClient, fetch, list_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from click import Option

    from jobkit.command import Job
    from jobkit.http import Response
    from jobkit.lake import Source
    from jobkit.refusals import Meaning
    from jobkit.requests import Parsed


def build(
    package: str,
    options: Sequence[Option],
    *,
    build_requests: Callable[..., list[Request]],
    build_client: Callable[..., VendorClient],
    parse: Callable[[bytes, Request], Mapping[str, Parsed]],
    fetch: Callable[[Any, Request, Source | None], Response] = fetch,
    find_lister: Callable[..., Callable[[Any, list[Request]], list[Request]] | None] = lambda **_: None,
    meanings: Sequence[Meaning] = (),
    parse_module: str | None = None,
) -> Callable[[], NoReturn]:
    """Build the console command of an extractor.

    options: the extractor's own; those that all extractors have (--lake, --replay, --retry-timeout, --allow-shrinking, --received-at) are
        added.
    build_requests: takes the extractor's options by name; returns the requests in the order in which they are sent.
    build_client: takes the declared hosts, then the extractor's options by name; opens no connection.
    parse, fetch, parse_module: see `jobkit.requests.Extractor`.
    find_lister: takes the extractor's options and the URL of the lake by name; returns the `list_requests` of `jobkit.requests.Extractor`,
        or None.
    meanings: what the vendor's responses without data mean (jobkit.refusals).
    """

    def build_extractor(job: Job, lake: str, values: dict[str, Any], retry_timeout: float) -> Extractor:
        """Bind the extractor to the options of this run. A retry never outlasts the deadline."""

        def configured_client() -> VendorClient:
            client = build_client(job.hosts, **values)
            client.retry_timeout_s = min(retry_timeout, job.deadline_s)
            client.max_body_bytes, client.meanings = job.max_body_bytes, meanings
            return client

        lookback = _lookback_partitions(build_requests, values)
        return Extractor(package, configured_client, fetch, parse, lookback, find_lister(lake=lake, **values), parse_module)

    def run(
        job: Job,
        *,
        lake: str,
        replay: bool,
        retry_timeout: float,
        allow_shrinking: bool,
        received_at: datetime | None,
        **values: Any,  # noqa: ANN401
    ) -> None:
        """Fetch from the vendor and commit each partition."""
        from jobkit import extraction  # noqa: PLC0415  describe extracts nothing

        extraction.run(
            job,
            build_extractor(job, lake, values, retry_timeout),
            build_requests(**values),
            lake=lake,
            replay=replay,
            allow_shrinking=allow_shrinking,
            received_at=received_at,
        )

    def check(job: Job, *, lake: str, replay: bool, retry_timeout: float, **values: Any) -> None:  # noqa: ANN401
        from jobkit import extraction  # noqa: PLC0415

        extraction.check(build_extractor(job, lake, values, retry_timeout), build_requests(**values), lake=lake, replay=replay)

    def plan(job: Job, *, lake: str, replay: bool, retry_timeout: float, **values: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        from jobkit import extraction  # noqa: PLC0415

        return extraction.plan(build_extractor(job, lake, values, retry_timeout), build_requests(**values), lake=lake, replay=replay)

    return command.build(
        package,
        [shared.lake(), *options, shared.retry_timeout(), shared.replay(), shared.allow_shrinking(), shared.received_at()],
        run=run,
        check=check,
        plan=plan,
        answers=meanings,
    )


def import_parser(package: str, module: str = "parser") -> Callable[[bytes, Request], Mapping[str, Parsed]]:
    """Return the `parse` of a package's module, which is imported at first use, because `describe` imports nothing heavy."""

    def parse(body: bytes, request: Request) -> Mapping[str, Parsed]:
        parsed: Mapping[str, Parsed] = import_module(f"{package}.{module}").parse(body, request)
        return parsed

    return parse


def _lookback_partitions(build_requests: Callable[..., list[Request]], values: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Return the partitions that are requested only because of --lookback-days."""
    if not values.get("lookback_days"):
        return frozenset()
    return list_partitions(build_requests(**values)) - list_partitions(build_requests(**{**values, "lookback_days": 0}))
