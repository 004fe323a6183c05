"""A polite and suspicious HTTP client: paced, patient, and sure that what it hands on is what the vendor sent.

Paces requests, honours Retry-After, asks conditionally, and refuses other hosts, private addresses behind public names, redirects
elsewhere, and bodies that are not whole, too large or of another media type than asked for. It keeps no cookies.
"""

from __future__ import annotations

import logging
import math
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlencode

from jobkit import answers, failpoints, headers, logs, urls
from jobkit import body as bodies
from jobkit.body import RetryableError
from jobkit.errors import AuthError, BadDataError, MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx2
    from stamina.instrumentation import RetryDetails

    from jobkit.answers import Meaning
    from jobkit.body import Body
    from jobkit.lake import Source
    from jobkit.network import Host

__all__ = ["Client", "Rate", "ResourceNotFoundError", "Response", "RetryableError"]

MAX_BODY_BYTES = 8 << 20  # for a client that is told no other limit
MAX_WAIT_S = 90.0
TRIES = 10
REDIRECTS = 3
CLOCKS_APART_S = 300.0  # between the vendor's clock and ours, before somebody should look
USER_AGENT = "finelt/0.1 (+batch extractor)"


class Rate(NamedTuple):
    """At most `requests` in any `per_s` seconds."""

    requests: int
    per_s: float


class Response(NamedTuple):
    """A vendor's answer: its content, or None where nothing changed since what we know. `date` is when the vendor says it answered."""

    content: Body | None
    url: str
    media_type: str
    etag: str | None
    last_modified: str | None
    date: datetime | None = None

    @property
    def body(self) -> bytes | None:
        """The content in memory, read each time."""
        return None if self.content is None else self.content.read()


class ResourceNotFoundError(UsageError):
    """The vendor knows nothing by this name (404)."""


class Client:
    """Requests below one base URL. `hosts` are those the job declares; a base URL given by hand adds its own.

    `retry_timeout_s` is how long a request is retried while the vendor is busy or unreachable; 0 sends it once. `max_body_bytes` is the
    most that a decoded body may have, `meanings` the vendor's own refusals. Each request also has the deadline of jobkit.network.
    """

    retry_timeout_s: float = 60.0
    max_body_bytes: int = MAX_BODY_BYTES
    meanings: Sequence[Meaning] = ()

    def __init__(
        self, base_url: str, *, hosts: Sequence[str], accept: Sequence[str], rate: Rate, headers: Mapping[str, str] | None = None
    ) -> None:
        import stamina.instrumentation  # noqa: PLC0415  a tenth of a second that describe need not pay

        from jobkit import rate_limit  # noqa: PLC0415

        self._declared = frozenset(hosts)
        self._given = _given(base_url, self._declared)
        self.base_url, self._accept = base_url.rstrip("/"), tuple(accept)
        self._limiter = rate_limit.build_limiter(*rate)
        self._requests = threading.local()
        sent = {"User-Agent": USER_AGENT, "Accept": ", ".join((*accept, "*/*;q=0.1")), "Accept-Encoding": "gzip", **(headers or {})}
        self._client = self._connected(_sendable(sent))
        self._closed = self._clock_warned = False
        stamina.instrumentation.set_on_retry_hooks([_tell_retry])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it. Requests of other threads fail with that and are not tried again."""
        self._closed = True
        self._client.close()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None) -> Response:
        """Send a GET and return the response, retrying while that may help.

        Raises ResourceNotFoundError on 404, AuthError on 401 and 403, BadDataError on a response that cannot be right, RetryableError
        after too many tries. If the vendor's own words mean something else, the error is what they mean.
        """
        import stamina  # noqa: PLC0415

        def retry(error: Exception) -> bool | float:
            if self._closed or not isinstance(error, RetryableError) or (error.wait_s or 0) > min(MAX_WAIT_S, self.retry_timeout_s):
                return False
            return True if error.wait_s is None else error.wait_s

        url = self.url(path, params)
        tries = TRIES if self.retry_timeout_s else 1
        for attempt in stamina.retry_context(on=retry, attempts=tries, timeout=self.retry_timeout_s or None, wait_initial=0.5, wait_max=20):
            with attempt, failpoints.surround("request"):
                return self._once(url, known)
        raise AssertionError  # pragma: no cover  the loop returns or raises

    def probe(self, path: str, params: Sequence[tuple[str, str]] = ()) -> None:
        """Nothing, when the vendor would answer this; the body is not read."""
        with self._sent(self.url(path, params), {}) as response:
            self._judge(response)

    def url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """The whole URL of a question."""
        return self.base_url + path + (f"?{urlencode(params)}" if params else "")

    def _once(self, url: str, known: Source | None) -> Response:
        stored = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known else {}
        validators = {name: value for name, text in stored.items() if (value := headers.validator(text))}
        with self._sent(url, validators) as response:
            here, date = datetime.now(UTC), headers.date(response.headers.get("date"))
            self._compare_clocks(response, date, here)
            etag, modified = (headers.validator(response.headers.get(name)) for name in ("etag", "last-modified"))
            media = headers.media_type(response.headers.get("content-type"))
            if response.status_code == 304:  # noqa: PLR2004
                if not validators:
                    raise RetryableError(f"{_where(response)} says that nothing changed (304), and was not asked that; try again later")
                return Response(None, url, media, etag, modified, date)
            self._judge(response)
            content = bodies.receive(response, _where(response), limit=self.max_body_bytes, media=media)
            if (told := self._requests.progress.body_bytes - _stated(response)) > 0:
                raise RetryableError(f"{_where(response)} sent {told:,.0f} bytes more than its Content-Length says; try again later")
            self._hear(response, content, media)
            return Response(content, url, media, etag, modified, date)

    @contextmanager
    def _sent(self, url: str, fields: dict[str, str]) -> Iterator[httpx2.Response]:
        """The response to a paced request, redirects followed among allowed hosts."""
        import httpx2  # noqa: PLC0415

        from jobkit.network import Progress  # noqa: PLC0415

        for _ in range(REDIRECTS + 1):
            host = self._allow(url)
            self._limiter.try_acquire("vendor")
            self._requests.progress = Progress()
            try:
                with self._client.stream("GET", url, headers=fields) as response:
                    if not response.has_redirect_location:
                        yield response
                        return
                    url = _redirected(response)
            except httpx2.TimeoutException as error:
                raise RetryableError(f"{host} did not answer in time: {error}; try again later") from None
            except httpx2.TransportError as error:
                raise RetryableError(f"the connection to {host} failed or broke off: {error}; try again later") from None
        raise BadDataError(f"{host} redirects in circles; look at --base-url")

    def _connected(self, sent: dict[str, str]) -> httpx2.Client:
        """The library's client, with the proxies that the environment names, on a network of our own."""
        import httpx2  # noqa: PLC0415

        from jobkit.network import Backend  # noqa: PLC0415

        try:
            client = httpx2.Client(
                headers=sent,
                timeout=httpx2.Timeout(30, connect=10),
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        except (httpx2.InvalidURL, ValueError, ImportError) as error:  # it knows http and https proxies
            kind = type(error).__name__
            raise MisconfiguredError(
                f"a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({kind}); expected http://host:port"
            ) from None
        for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001  a client of httpx2 2.16 takes no network backend
            if isinstance(transport, httpx2.HTTPTransport):
                pool = transport._pool  # noqa: SLF001
                pool._network_backend = Backend(pool._network_backend, self._check_peer, self._requests)  # noqa: SLF001
        return client

    def _allow(self, url: str) -> str:
        """The host of a URL. Raises BadDataError on one that this job may not call."""
        from jobkit.network import host_of  # noqa: PLC0415

        try:
            host = host_of(url)
        except ValueError:
            raise BadDataError("a redirect leads to what is no http address; look at --base-url") from None
        if host != self._given and (host.name not in self._declared or (host.scheme, host.port) != ("https", 443)):
            allowed = ", ".join(sorted(self._declared))
            raise BadDataError(
                f"a redirect leads to {host.scheme}://{host.name}:{host.port}, which this job may not call; it may call {allowed} by https"
            )
        return host.name

    def _check_peer(self, host: str, address: str) -> None:
        """Refuse a private address behind a declared name as soon as it is connected to, before anything is sent.

        Any other name is the base URL's, given by hand, or a proxy's: a connection through one is not ours to judge.
        """
        from jobkit.network import is_public  # noqa: PLC0415

        if host.lower().rstrip(".") in self._declared and not is_public(address):
            raise MisconfiguredError(f"the public host name {host} leads to the private address {address}; refused, look at the resolver")

    def _compare_clocks(self, response: httpx2.Response, date: datetime | None, here: datetime) -> None:
        """Warn, once, where the vendor's clock and ours are far apart; an answer out of a cache was dated when it was made."""
        if date is None or self._clock_warned:
            return
        apart_s = (date - here).total_seconds() + min(headers.seconds(response.headers.get("age")) or 0.0, 1e9)
        if abs(apart_s) > CLOCKS_APART_S:
            self._clock_warned = True
            told = {"host": response.url.host, "vendor": date.isoformat(), "here": here.isoformat(), "apart_s": round(apart_s)}
            logging.getLogger(logs.LOGGER).warning("the vendor's clock differs from this machine's; check the time here", extra=told)

    def _judge(self, response: httpx2.Response) -> None:
        """Raise unless this is an answer of the kind asked for."""
        status, where = response.status_code, _where(response)
        media = headers.media_type(response.headers.get("content-type"))
        if status == 200 and media in self._accept:  # noqa: PLR2004
            return
        body = bodies.beginning(response, answers.READ_BYTES)
        text = answers.text_of(body)
        said = answers.quote(text)
        wait_s = headers.retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        self._raise_meaning(status, text, where, wait_s)
        if status in (401, 403):
            if answers.speaks_of_rate(text):
                raise RetryableError(f"{where} asks us to wait ({status}): {said}; try again later", wait_s)
            raise AuthError(f"{where} refuses us ({status}): {said}; check the token, the contact and what the plan includes")
        if status in (404, 410):
            raise ResourceNotFoundError(f"{where} does not exist ({status}): {said}")
        if status in (408, 425, 429) or status >= 500:  # noqa: PLR2004
            raise RetryableError(f"{where} is busy ({status}): {said}; try again later", wait_s)
        if status < 400 and status != 200:  # noqa: PLR2004
            raise RetryableError(f"{where} answered {status} where 200 was expected; try again later, or look at the address", wait_s)
        if status != 200:  # noqa: PLR2004
            raise UsageError(f"{where} does not accept the request ({status}): {said}")
        expected = " or ".join(self._accept)
        told = f"{where} answered 200 with {media or 'no media type'} where {expected} was expected"
        if answers.is_page(body) or answers.is_sentence(body, json=False) or answers.is_passing_error(body):
            raise RetryableError(f"{told}, perhaps for maintenance or a limit: {said}; try again later", wait_s)
        raise BadDataError(f"{told}; look at the address and at what the vendor changed")

    def _hear(self, response: httpx2.Response, content: Body, media: str) -> None:
        """Raise where an answer of the right kind holds no data but words."""
        where = _where(response)
        if content.size == 0:
            raise RetryableError(f"{where} answered 200 with nothing at all; try again later")
        body = content.read(answers.READ_BYTES)
        if content.size < answers.READ_BYTES and self.meanings:
            self._raise_meaning(200, answers.text_of(body), where, None)
        is_markup = answers.is_page(body) and not media.endswith(("xml", "html"))
        if is_markup or answers.is_sentence(body, json=headers.is_json(media)) or answers.is_passing_error(body):
            said = answers.quote(answers.text_of(body))
            raise RetryableError(
                f"{where} answered 200 with words in place of data, maintenance or a limit perhaps: {said}; try again later"
            )

    def _raise_meaning(self, status: int, text: str, where: str, wait_s: float | None) -> None:
        """Raise what the vendor's own table says of an answer; nothing where it says nothing."""
        meaning = answers.find(self.meanings, status, text)
        if meaning is None:
            return
        said = answers.quote(text)
        if meaning.means == "temporary":
            raise RetryableError(
                f"{where} asks us to wait ({status}): {said}; try again later", meaning.wait_s if wait_s is None else wait_s
            )
        if meaning.means == "missing":
            raise ResourceNotFoundError(f"{where} does not exist ({status}): {said}")
        raise AuthError(f"{where} refuses us ({status}): {said}; check the token, the contact and what the plan includes")


def _given(base_url: str, declared: frozenset[str]) -> Host | None:
    """The host of a base URL that the job does not declare; None for one that it does. Raises UsageError on what is no base URL."""
    from jobkit.network import host_of  # noqa: PLC0415

    try:
        host = host_of(urls.check_web(base_url))
    except UsageError as error:
        raise UsageError(f"--base-url: {error}") from None
    except ValueError:
        host = None
    if host is None or not headers.is_sendable(base_url):
        raise UsageError("--base-url is no address; expected https://host/path, in ASCII")
    if host.name not in declared:
        return host
    if (host.scheme, host.port) != ("https", 443):
        raise UsageError(f"--base-url leads to {host.scheme} at port {host.port} of {host.name}; expected https at port 443")
    return None


def _sendable(sent: dict[str, str]) -> dict[str, str]:
    for name, value in sent.items():
        if not headers.is_sendable(value):
            raise MisconfiguredError(f"the header field {name} cannot be sent: expected printable ASCII without spaces around it")
    return sent


def _redirected(response: httpx2.Response) -> str:
    if response.next_request is None:
        raise BadDataError(f"{_where(response)} redirects ({response.status_code}) to what is no address; look at --base-url")
    return str(response.next_request.url)


def _stated(response: httpx2.Response) -> float:
    """How many bytes the body has by its Content-Length; infinite where another framing ends it."""
    stated = headers.seconds(response.headers.get("content-length"))
    return math.inf if stated is None or "transfer-encoding" in response.headers else stated


def _where(response: httpx2.Response) -> str:
    return f"{response.url.host}{response.url.path}"


def _tell_retry(details: RetryDetails) -> None:
    told = {"try": details.retry_num, "wait_s": round(details.wait_for, 2), "because": str(details.caused_by)}
    logging.getLogger(logs.LOGGER).warning("vendor asked again", extra=told)
