"""Log in with OAuth's client credentials (RFC 6749, section 4.4): a token for each job, renewed before it expires.

Hand-written: the libraries for this (Authlib, httpx-auth) send through clients of their own, around the checks of hosts and addresses here.
"""

from __future__ import annotations

import base64
import threading
import time
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from jobkit import headers, redaction
from jobkit.errors import AuthError, BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN_S = 30.0  # before its end, a token is renewed
LIFETIME_S = 300.0  # of a token whose answer states none


class TokenRequest(NamedTuple):
    """What is sent to the token's address: header fields and a form."""

    fields: dict[str, str]
    form: str


class ClientCredentials:
    """The credentials of a job, and its current token, for all threads. `token_url` is a path below the base URL, or an address.

    The secret is sent in the header Authorization, which servers have to accept (RFC 6749, section 2.3.1), or with `in_form` in the form.
    """

    def __init__(self, token_url: str, client_id: str, client_secret: str, *, scope: str = "", in_form: bool = False) -> None:
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        if in_form:
            form |= {"client_id": client_id, "client_secret": client_secret}
        else:
            pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
            fields["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self.token_url, self._request = token_url, TokenRequest(fields, urlencode(form))
        self._token, self._ends_s, self._renewing = "", 0.0, threading.Lock()

    def get_token(self, send: Callable[[TokenRequest], Any]) -> str:
        """Return a valid token. `send` returns the decoded answer to a request for one.

        Raises AuthError (77) if the answer is a refusal, BadDataError (65) if it is no answer to this.
        """
        with self._renewing:
            if not self._token or time.monotonic() >= self._ends_s:
                self._token, lifetime_s = _read_answer(send(self._request))
                self._ends_s = time.monotonic() + max(lifetime_s - MARGIN_S, lifetime_s / 2)
            return self._token

    def discard(self, token: str) -> None:
        """Forget a token that the vendor refused, unless another thread has renewed it already."""
        with self._renewing:
            if token == self._token:
                self._token = ""


def _read_answer(answer: Any) -> tuple[str, float]:  # noqa: ANN401  JSON
    """Return token and lifetime in seconds. The token is masked in all output from now on."""
    document = answer if isinstance(answer, dict) else {}
    token, lifetime = document.get("access_token"), document.get("expires_in", LIFETIME_S)
    if not isinstance(token, str) or not token or not headers.is_sendable(token):
        if isinstance(document.get("error"), str):
            raise AuthError(f"the token's address refuses us: {document['error'][:100]}; check client id, secret and scope")
        raise BadDataError("the answer of the token's address has no access_token; check its address in the job's source")
    redaction.protect(token, sent=True)
    try:
        lifetime_s = float(lifetime)
    except (TypeError, ValueError, OverflowError):
        lifetime_s = LIFETIME_S
    return token, max(lifetime_s, 0.0) if isfinite(lifetime_s) else LIFETIME_S
