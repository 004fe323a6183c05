"""A polite and suspicious HTTP client: paced, patient, and sure that what it hands on is what the vendor sent.

Paces requests, honours Retry-After, asks conditionally, and refuses other hosts, private addresses behind public names, redirects
elsewhere, bodies that are cut short, oversized or of another media type than asked for.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies

from jobkit import logs, redaction, steps, urls
from jobkit.errors import BadDataError, MisconfiguredError, RefusedError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx2
    import pyrate_limiter
    from stamina.instrumentation import RetryDetails

    from jobkit.lake import Source

MAX_BODY_BYTES = 1 << 30
MAX_WAIT_S = 90.0
TRIES = 10
REDIRECTS = 3
SHORT_S, SPARE = 10, 1.02
USER_AGENT = "finelt/0.1 (+batch extractor)"


class Rate(NamedTuple):
    """At most `requests` in any `per_s` seconds."""

    requests: int
    per_s: float


class Answer(NamedTuple):
    """A vendor's answer: the decoded body, or None where nothing changed since what we know."""

    body: bytes | None
    url: str
    media_type: str
    etag: str | None
    last_modified: str | None


class MissingError(UsageError):
    """The vendor knows nothing by this name (404)."""


class LaterError(TemporaryError):
    """A temporary refusal; `wait_s` is how long the vendor wants us to wait, if it says."""

    def __init__(self, sentence: str, wait_s: float | None = None) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


class Client:
    """Requests below one base URL. `hosts` are those the job declares; a base URL given by hand adds its own.

    `patience_s` is how long a request is tried again while the vendor is busy or away; 0 asks once.
    """

    patience_s: float = 60.0

    def __init__(
        self, base_url: str, *, hosts: Sequence[str], accept: Sequence[str], rate: Rate, headers: Mapping[str, str] | None = None
    ) -> None:
        import httpx2  # noqa: PLC0415  a tenth of a second that describe need not pay
        import stamina.instrumentation  # noqa: PLC0415
        from pyrate_limiter import InMemoryBucket, Limiter  # noqa: PLC0415

        try:
            parts = urlsplit(urls.check_web(base_url))
        except UsageError as error:
            raise UsageError(f"--base-url: {error}") from None
        self._declared = frozenset(hosts)
        self._given = None if parts.hostname in self._declared else parts.netloc
        self.base_url, self._accept = base_url.rstrip("/"), tuple(accept)
        self._limiter = Limiter(InMemoryBucket([_paced(rate)]), buffer_ms=1)
        sent = {"User-Agent": USER_AGENT, "Accept": ", ".join((*accept, "*/*;q=0.1")), "Accept-Encoding": "gzip", **(headers or {})}
        self._client = httpx2.Client(headers=sent, timeout=httpx2.Timeout(30, connect=10), follow_redirects=False)
        self._proxied, self._closed = bool(getproxies()), False
        stamina.instrumentation.set_on_retry_hooks([_tell_retry])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it. Requests of other threads fail with that and are not tried again."""
        self._closed = True
        self._client.close()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None) -> Answer:
        """The answer to a GET, retried while that may help.

        Raises MissingError on 404, RefusedError on 401 and 403, BadDataError on an answer that cannot be right, LaterError after too
        many tries.
        """
        import stamina  # noqa: PLC0415

        def patience(error: Exception) -> bool | float:
            if self._closed or not isinstance(error, LaterError) or (error.wait_s or 0) > min(MAX_WAIT_S, self.patience_s):
                return False
            return True if error.wait_s is None else error.wait_s

        url = self.url(path, params)
        tries = TRIES if self.patience_s else 1
        for attempt in stamina.retry_context(on=patience, attempts=tries, timeout=self.patience_s or None, wait_initial=0.5, wait_max=20):
            with attempt, steps.around("request"):
                return self._once(url, known)
        raise AssertionError  # pragma: no cover  the loop returns or raises

    def reach(self, path: str, params: Sequence[tuple[str, str]] = ()) -> None:
        """Nothing, when the vendor would answer this; the body is not read."""
        with self._sent(self.url(path, params), {}) as response:
            self._judge(response, response.headers.get("content-type", ""))

    def url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """The whole URL of a question."""
        return self.base_url + path + (f"?{urlencode(params)}" if params else "")

    def _once(self, url: str, known: Source | None) -> Answer:
        validators = {"If-None-Match": known and known.etag, "If-Modified-Since": known and known.last_modified}
        with self._sent(url, {name: value for name, value in validators.items() if value}) as response:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            facts = (url, media_type, response.headers.get("etag"), response.headers.get("last-modified"))
            if response.status_code == 304:  # noqa: PLR2004
                return Answer(None, *facts)
            self._judge(response, media_type)
            return Answer(_body(response, url), *facts)

    @contextmanager
    def _sent(self, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The response to a paced request, redirects followed among allowed hosts."""
        import httpx2  # noqa: PLC0415

        for _ in range(REDIRECTS + 1):
            self._allow(url)
            self._limiter.try_acquire("vendor")
            try:
                with self._client.stream("GET", url, headers=headers, extensions={"trace": self._watch}) as response:
                    if response.next_request is None:
                        yield response
                        return
                    url = str(response.next_request.url)
            except httpx2.TimeoutException:
                raise LaterError(f"{_host(url)} did not answer in time; try again later") from None
            except httpx2.TransportError as error:
                raise LaterError(f"the connection to {_host(url)} failed or broke off: {error}; try again later") from None
        raise BadDataError(f"{_host(url)} redirects in circles; look at --base-url")

    def _allow(self, url: str) -> None:
        parts = urlsplit(url)
        if self._given is not None and parts.netloc == self._given:
            return
        if parts.hostname not in self._declared or parts.scheme != "https" or parts.port not in (None, 443):
            allowed = ", ".join(sorted(self._declared))
            raise BadDataError(
                f"a redirect leads to {parts.scheme}://{parts.netloc}, which this job may not call; it may call {allowed} by https"
            )

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Refuse a private peer as soon as it is connected to, before anything is sent."""
        if event != "connection.connect_tcp.complete" or self._proxied or self._given is not None:
            return
        stream = info["return_value"]
        peer = stream.get_extra_info("server_addr")[0]
        if not ipaddress.ip_address(peer).is_global:
            stream.close()
            raise MisconfiguredError(f"a public host name leads to the private address {peer}; refused, look at the resolver")

    def _judge(self, response: httpx2.Response, media_type: str) -> None:
        """Raise unless this is an answer of the kind asked for."""
        status, where = response.status_code, f"{_host(str(response.url))}{response.url.path}"
        if status in (401, 403):
            raise RefusedError(f"{where} refuses us ({status}): {_told(response)}; check the token, the contact and what the plan includes")
        if status in (404, 410):
            raise MissingError(f"{where} does not exist ({status}): {_told(response)}")
        if status == 429 or status >= 500:  # noqa: PLR2004
            raise LaterError(f"{where} is busy ({status}); try again later", _retry_after(response.headers.get("retry-after")))
        if status != 200:  # noqa: PLR2004
            raise UsageError(f"{where} does not accept the request ({status}): {_told(response)}")
        if not media_type.startswith(self._accept):
            expected = " or ".join(self._accept)
            raise BadDataError(
                f"{where} answered 200 with {media_type or 'no media type'} where {expected} was expected; perhaps a maintenance page"
            )


def _paced(rate: Rate) -> pyrate_limiter.Rate:
    """The rate to ask at, so that the vendor, who counts what arrives, never counts more than it allows.

    Within a short window one late arrival counts into the next one: there, requests come one by one. A long one is a second longer.
    """
    from pyrate_limiter import Rate as Pace  # noqa: PLC0415

    if rate.per_s <= SHORT_S:
        return Pace(1, math.ceil(rate.per_s * 1000 / rate.requests * SPARE))
    return Pace(rate.requests, int(rate.per_s * 1000) + 1000)


def _tell_retry(details: RetryDetails) -> None:
    told = {"try": details.retry_num, "wait_s": round(details.wait_for, 2), "because": str(details.caused_by)}
    logging.getLogger(logs.LOGGER).warning("vendor asked again", extra=told)


def _body(response: httpx2.Response, url: str) -> bytes:
    """The whole body, decoded by us: a client library would hand on a gzip stream that was cut short."""
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS) if response.headers.get("content-encoding") == "gzip" else None
    parts: list[bytes] = []
    size = 0
    for raw in response.iter_raw():
        part = decoder.decompress(raw, MAX_BODY_BYTES) if decoder else raw
        size += len(part)
        if size > MAX_BODY_BYTES or (decoder and decoder.unconsumed_tail):
            raise BadDataError(f"{_host(url)} sends more than {MAX_BODY_BYTES >> 20} MiB; refused")
        parts.append(part)
    if decoder and not decoder.eof:
        raise LaterError(f"the answer of {_host(url)} was cut short; try again later")
    return b"".join(parts)


def _told(response: httpx2.Response) -> str:
    """The beginning of what a refusal says, on one line."""
    try:
        response.read()
    except Exception as error:  # noqa: BLE001  a refusal we cannot read is still a refusal
        return type(error).__name__
    text = redaction.redact(" ".join(response.text.split()))  # before it is cut: the beginning of a secret would be left
    return text[:160] if not text.startswith("<") else _without_tags(text)[:160]


def _without_tags(text: str) -> str:
    import re  # noqa: PLC0415

    return " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL).split())


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait: the header holds seconds or an HTTP date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
