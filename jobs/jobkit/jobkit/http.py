"""An HTTP client for vendors: it keeps their rate, retries, and returns complete responses of the requested kind only.

It honours Retry-After and RateLimit-Reset, and sends conditional requests. It refuses hosts that the job does not declare, private
addresses behind public names, redirects to other hosts, and bodies that are incomplete, too large or of another media type. It keeps no
cookies.

    Client           requests, retries, redirects, the allowed hosts
    response_checks  which error a response is
    body             whether a body is complete
    network          which addresses are connected to, and how slowly a response may arrive
    rate_limit       when the next request may be sent
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar
from urllib.parse import urlencode

from jobkit import body as bodies
from jobkit import failpoints, headers, logs, lossless_json, urls
from jobkit.body import RetryableError
from jobkit.errors import AuthError, BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.response_checks import NoDataError, ResourceNotFoundError, check_content, check_status, format_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx2
    from stamina.instrumentation import RetryDetails

    from jobkit.body import Body
    from jobkit.lake import Source
    from jobkit.network import Host
    from jobkit.oauth import ClientCredentials, TokenRequest
    from jobkit.refusals import Meaning

__all__ = ["Client", "NoDataError", "Rate", "ResourceNotFoundError", "Response", "RetryableError"]

T = TypeVar("T")
MAX_BODY_BYTES = 8 << 20  # unless the job sets another limit
MAX_RETRY_AFTER_S = 90.0  # a longer Retry-After ends the retries
MAX_ATTEMPTS = 10
MAX_REDIRECTS = 3
MAX_TOKEN_BYTES = 64 << 10
MAX_CLOCK_DIFFERENCE_S = 300.0  # between the vendor's clock and ours; a larger one is logged
UNKNOWN_NAME = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}  # macOS has no EAI_NODATA
USER_AGENT = "finelt/0.1 (+batch extractor)"


class Rate(NamedTuple):
    """At most `requests` in any `per_s` seconds."""

    requests: int
    per_s: float


class Response(NamedTuple):
    """A vendor's response. `content` is None if nothing has changed since the previous response (304).

    `date` is the vendor's time of the response (UTC). `etag` and `last_modified` are None if they cannot be sent back unchanged.
    `next_link` is the address of the next page in the header Link (RFC 8288); None if there is none.
    """

    content: Body | None
    url: str
    media_type: str
    etag: str | None
    last_modified: str | None
    date: datetime | None = None
    next_link: str | None = None

    @property
    def body(self) -> bytes | None:
        """The content as bytes, read from the start each time; None if there is none."""
        return None if self.content is None else self.content.read()


class Client:
    """Sends requests below one base URL. `hosts` are those that the job declares; another base URL (--base-url) adds its own host.

    `retry_timeout_s` is how long a request is retried while the vendor is busy or unreachable; 0 sends it once. `max_body_bytes` is the
    limit of a decoded body, `meanings` the vendor's own table of refusals. Each request also has the time limits of jobkit.network.
    `secret_params` are query parameters that only the vendor sees, for vendors that take a key nowhere else: no URL of a response, message
    or stored source has them. `login` has OAuth's client credentials, whose token each request carries.

    Raises UsageError (2) for an invalid base URL, MisconfiguredError (78) for a header that cannot be sent or an unusable proxy.
    """

    retry_timeout_s: float = 60.0
    max_body_bytes: int = MAX_BODY_BYTES
    meanings: Sequence[Meaning] = ()

    def __init__(
        self,
        base_url: str,
        *,
        hosts: Sequence[str],
        accept: Sequence[str],
        rate: Rate,
        headers: Mapping[str, str] | None = None,
        secret_params: Mapping[str, str] | None = None,
        login: ClientCredentials | None = None,
    ) -> None:
        import stamina.instrumentation  # noqa: PLC0415  a tenth of a second that describe does not need

        from jobkit import rate_limit  # noqa: PLC0415

        self._declared = frozenset(hosts)
        self._base_host = _find_undeclared_host(base_url, self._declared)
        self.base_url, self._accept = base_url.rstrip("/"), tuple(accept)
        self._login = login
        self._limiter, self._secret_query = rate_limit.build_limiter(*rate), urlencode(secret_params or {})
        self._requests = threading.local()
        sent = {"User-Agent": USER_AGENT, "Accept": ", ".join((*accept, "*/*;q=0.1")), "Accept-Encoding": "gzip", **(headers or {})}
        self._client = self._build_client(_check_sendable(sent))
        self._versions: dict[str, tuple[int, str | None, str | None]] = {}  # of files that are read in parts
        self._resume_at = 0.0  # by time.monotonic()
        self._closed = self._clock_warned = self._has_answered = False
        stamina.instrumentation.set_on_retry_hooks([_log_retry])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client. Requests of other threads fail and are not retried."""
        self._closed = True
        self._client.close()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None, *, body: str | None = None) -> Response:
        """Send a GET, or the POST of a JSON document that asks for data, and return the response, with retries.

        `known` is a previous response to the same GET, for a conditional one.

        Raises the errors of jobkit.response_checks; RetryableError (75) only after `retry_timeout_s` or MAX_ATTEMPTS.
        """
        return self._retry(lambda: self._send_once(self.url(path, params), known, body))

    def get_part(self, path: str, first: int, size: int) -> tuple[bytes, int]:
        """Return `size` bytes of a file from byte `first` on, fewer at its end, and the size of the whole file; with retries, as `get`.

        Raises BadDataError (65) if the server sends no parts, TemporaryError (75) if the file is another than at the first call.
        """
        return self._retry(lambda: self._get_part_once(self.url(path), first, size))

    def _retry(self, send: Callable[[], T]) -> T:
        """Return what `send` returns; call it again while the vendor is busy or unreachable."""
        import stamina  # noqa: PLC0415

        def retry(error: Exception) -> bool | float:
            if self._closed or not isinstance(error, RetryableError) or (error.wait_s or 0) > min(MAX_RETRY_AFTER_S, self.retry_timeout_s):
                return False
            return True if error.wait_s is None else error.wait_s

        attempts = MAX_ATTEMPTS if self.retry_timeout_s else 1
        for attempt in stamina.retry_context(
            on=retry, attempts=attempts, timeout=self.retry_timeout_s or None, wait_initial=0.5, wait_max=20
        ):
            with attempt, failpoints.surround("request"):
                return send()
        raise AssertionError  # pragma: no cover  the loop returns or raises

    def probe(self, path: str, params: Sequence[tuple[str, str]] = (), body: str | None = None) -> None:
        """Send a request once and check its status, without reading the response. Raises the errors of jobkit.response_checks."""
        with self._ask(self.url(path, params), {}, body) as response:
            check_status(response, self._accept, self.meanings)

    def url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """Return the complete URL of a request. A path may be an address of another of the vendor's hosts, which the job declares too."""
        return (path if path.startswith("https://") else self.base_url + path) + (f"?{urlencode(params)}" if params else "")

    def _send_once(self, url: str, known: Source | None, body: str | None = None) -> Response:
        stored = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known else {}
        validators = {name: value for name, text in stored.items() if (value := headers.parse_validator(text))}
        with self._ask(url, validators, body) as response:
            date = headers.parse_date(response.headers.get("date"))
            self._compare_clocks(response, date, datetime.now(UTC))
            etag, modified = (headers.parse_validator(response.headers.get(name)) for name in ("etag", "last-modified"))
            media = headers.parse_media_type(response.headers.get("content-type"))
            if response.status_code == 304:  # noqa: PLR2004
                if not validators:
                    raise RetryableError(
                        f"{format_address(response)} says that nothing changed (304), and was not asked that; try again later"
                    )
                return Response(None, url, media, etag, modified, date)
            check_status(response, self._accept, self.meanings)
            content = bodies.receive(response, format_address(response), limit=self.max_body_bytes, media=media)
            if (excess := self._requests.progress.body_bytes - _read_stated_length(response)) > 0:
                raise RetryableError(
                    f"{format_address(response)} sent {excess:,.0f} bytes more than its Content-Length says; try again later"
                )
            check_content(response, content, media, self.meanings)
            return Response(content, url, media, etag, modified, date, headers.parse_next_link(response.headers.get("link")))

    def _get_part_once(self, url: str, first: int, size: int) -> tuple[bytes, int]:
        fields = {"Range": f"bytes={first}-{first + size - 1}", "Accept-Encoding": "identity"}
        with self._ask(url, fields, None) as response:
            where = format_address(response)
            if response.status_code == 200:  # noqa: PLR2004
                raise BadDataError(f"{where} sent the whole file where a part was requested; expected status 206, use a server with ranges")
            if response.status_code == 416:  # noqa: PLR2004  it ends before the part
                raise TemporaryError(f"{where} was replaced while it was read; try again later")
            if response.status_code != 206:  # noqa: PLR2004
                check_status(response, (), self.meanings)
            stated = headers.parse_content_range(response.headers.get("content-range"))
            total = stated[2] if stated else 0
            if stated is None or stated[:2] != (first, min(first + size, total) - 1):
                raise RetryableError(f"{where} sent another part than bytes {first:,} to {first + size - 1:,}; try again later")
            content = bodies.receive(response, where, limit=size, media="").read()
            if len(content) != stated[1] - first + 1:
                raise RetryableError(f"{where} sent {len(content):,} bytes of a part of {stated[1] - first + 1:,}; try again later")
            version = (total, response.headers.get("etag"), response.headers.get("last-modified"))
            if self._versions.setdefault(url, version) != version:
                raise TemporaryError(f"{where} was replaced while it was read; try again later")
            return content, total

    @contextmanager
    def _ask(self, url: str, fields: dict[str, str], body: str | None) -> Iterator[httpx2.Response]:
        """Send a request with its credentials; yield the response. A token that the vendor refuses (401) is renewed once."""
        if self._secret_query:
            url += ("&" if "?" in url else "?") + self._secret_query
        if body is not None:
            fields = {**fields, "Content-Type": "application/json"}
        if self._login:
            token = self._login.get_token(self._fetch_token)
            with self._send(url, {**fields, "Authorization": f"Bearer {token}"}, body) as response:
                if response.status_code != 401:  # noqa: PLR2004
                    yield response
                    return
            self._login.discard(token)
            fields = {**fields, "Authorization": f"Bearer {self._login.get_token(self._fetch_token)}"}
        with self._send(url, fields, body) as response:
            yield response

    def _fetch_token(self, asked: TokenRequest) -> object:
        """Return the decoded answer to a request for a token. Raises AuthError (77) if the vendor refuses the credentials."""
        url = self._login.token_url if self._login else ""
        url = self.base_url + url if url.startswith("/") else url
        with self._send(url, asked.fields, asked.form) as response:
            where = format_address(response)
            try:
                check_status(response, ("application/json",), ())
            except UsageError as error:
                raise AuthError(f"{error}; check client id, secret and scope") from None
            return lossless_json.decode(bodies.receive(response, where, limit=MAX_TOKEN_BYTES, media="application/json").read(), where)

    @contextmanager
    def _send(self, url: str, fields: dict[str, str], content: str | bytes | None) -> Iterator[httpx2.Response]:
        """Send a request when the rate allows it, a POST if it has content, and follow redirects of a GET; yield the response."""
        import httpx2  # noqa: PLC0415

        from jobkit.network import Progress  # noqa: PLC0415

        for _ in range(MAX_REDIRECTS + 1):
            host = self._check_host(url)
            self._limiter.try_acquire("vendor")
            self._wait_for_reset()
            self._requests.progress = Progress()
            try:
                with self._client.stream("GET" if content is None else "POST", url, headers=fields, content=content) as response:
                    self._has_answered = True
                    reset_s = headers.parse_reset(response.headers, is_refused=False)
                    if reset_s and response.status_code == 200:  # noqa: PLR2004  a 429 says itself when to send it again
                        self._resume_at = max(self._resume_at, time.monotonic() + reset_s)
                    if not response.has_redirect_location:
                        yield response
                        return
                    if content is not None:
                        raise BadDataError(f"{format_address(response)} redirects a POST ({response.status_code}); look at --base-url")
                    url = _read_redirect(response)
            except httpx2.TimeoutException as error:
                raise RetryableError(f"{host} did not answer in time: {error}; try again later") from None
            except httpx2.TransportError as error:
                if not self._has_answered and _is_unknown_name(error):
                    raise TemporaryError(
                        f"the name {host} does not exist, says this machine's resolver (or its proxy's does not); check the network and "
                        "--base-url, then run it again"
                    ) from None
                raise RetryableError(f"the connection to {host} failed or broke off: {error}; try again later") from None
        raise BadDataError(f"{host} redirects in circles; look at --base-url")

    def _wait_for_reset(self) -> None:
        """Wait if the vendor said that its limit is used up, perhaps by others. A long wait is left to its next answer, a 429."""
        wait_s = self._resume_at - time.monotonic()
        if 0 < wait_s <= MAX_RETRY_AFTER_S:
            logging.getLogger(logs.LOGGER).info("the vendor's limit of requests is used up", extra={"wait_s": round(wait_s, 2)})
            time.sleep(wait_s)

    def _build_client(self, sent: dict[str, str]) -> httpx2.Client:
        """Build the library's client with the proxies of the environment and our network backend. Raises MisconfiguredError."""
        import httpx2  # noqa: PLC0415

        from jobkit.network import Backend  # noqa: PLC0415

        try:
            client = httpx2.Client(
                headers=sent,
                timeout=httpx2.Timeout(30, connect=10),
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        except (httpx2.InvalidURL, ValueError, ImportError) as error:  # proxies other than http and https
            kind = type(error).__name__
            raise MisconfiguredError(
                f"a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({kind}); expected http://host:port"
            ) from None
        for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001  a client of httpx2 2.16 takes no network backend
            if isinstance(transport, httpx2.HTTPTransport):
                pool = transport._pool  # noqa: SLF001
                pool._network_backend = Backend(pool._network_backend, self._check_peer, self._requests)  # noqa: SLF001
        return client

    def _check_host(self, url: str) -> str:
        """Return the host of a URL. Raises BadDataError for one that this job may not call."""
        from jobkit.network import parse_host  # noqa: PLC0415

        try:
            host = parse_host(url)
        except ValueError:
            raise BadDataError("a redirect leads to an address that is not http; look at --base-url") from None
        if host != self._base_host and (host.name not in self._declared or (host.scheme, host.port) != ("https", 443)):
            allowed = ", ".join(sorted(self._declared))
            raise BadDataError(
                f"a redirect leads to {host.scheme}://{host.name}:{host.port}, which this job may not call; it may call {allowed} by https"
            )
        return host.name

    def _check_peer(self, host: str, address: str) -> None:
        """Raise MisconfiguredError for a private address behind a declared name, after connecting and before anything is sent.

        Any other name is that of --base-url or of a proxy, which the operator chose.
        """
        from jobkit.network import is_public  # noqa: PLC0415

        if host.lower().rstrip(".") in self._declared and not is_public(address):
            raise MisconfiguredError(f"the public host name {host} leads to the private address {address}; refused, look at the resolver")

    def _compare_clocks(self, response: httpx2.Response, date: datetime | None, now: datetime) -> None:
        """Log a warning, once, if the vendor's clock and ours differ much. The age of a cached response is taken into account."""
        if date is None or self._clock_warned:
            return
        difference_s = (date - now).total_seconds() + min(headers.parse_seconds(response.headers.get("age")) or 0.0, 1e9)
        if abs(difference_s) > MAX_CLOCK_DIFFERENCE_S:
            self._clock_warned = True
            fields = {"host": response.url.host, "vendor": date.isoformat(), "here": now.isoformat(), "apart_s": round(difference_s)}
            logging.getLogger(logs.LOGGER).warning("the vendor's clock differs from this machine's; check the time here", extra=fields)


def _find_undeclared_host(base_url: str, declared: frozenset[str]) -> Host | None:
    """Return the host of the base URL if the job does not declare it, else None. Raises UsageError for an invalid base URL."""
    from jobkit.network import parse_host  # noqa: PLC0415

    try:
        host = parse_host(urls.check_web(base_url))
    except UsageError as error:
        raise UsageError(f"--base-url: {error}") from None
    except ValueError:
        host = None
    if host is None or not headers.is_sendable(base_url):
        raise UsageError("--base-url is not an address; expected https://host/path, in ASCII")
    if host.name not in declared:
        return host
    if (host.scheme, host.port) != ("https", 443):
        raise UsageError(f"--base-url leads to {host.scheme} at port {host.port} of {host.name}; expected https at port 443")
    return None


def _check_sendable(sent: dict[str, str]) -> dict[str, str]:
    """Check header fields and return them. Raises MisconfiguredError."""
    for name, value in sent.items():
        if not headers.is_sendable(value):
            raise MisconfiguredError(f"the header field {name} cannot be sent: expected printable ASCII without spaces around it")
    return sent


def _is_unknown_name(error: BaseException) -> bool:
    """Whether the resolver says that a name does not exist. It caches this answer (RFC 2308), so a retry within seconds gets it again.

    A resolver that cannot be reached gives EAI_AGAIN instead.
    """
    cause: BaseException | None = error
    while cause and not isinstance(cause, socket.gaierror):
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, socket.gaierror) and cause.errno in UNKNOWN_NAME


def _read_redirect(response: httpx2.Response) -> str:
    if response.next_request is None:
        raise BadDataError(f"{format_address(response)} redirects ({response.status_code}) to an invalid address; look at --base-url")
    return str(response.next_request.url)


def _read_stated_length(response: httpx2.Response) -> float:
    """Return the body's length in bytes by its Content-Length; infinite if the body ends in another way."""
    length = headers.parse_seconds(response.headers.get("content-length"))
    return math.inf if length is None or "transfer-encoding" in response.headers else length


def _log_retry(details: RetryDetails) -> None:
    fields = {"attempt": details.retry_num, "wait_s": round(details.wait_for, 2), "reason": str(details.caused_by)}
    logging.getLogger(logs.LOGGER).warning("retry", extra=fields)
