"""A declared REST source against a server on the loopback interface: login, pages, POST, and what it does when a token ends."""

from __future__ import annotations

import base64
import json
import logging
from datetime import date
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from jobkit import oauth, rest
from jobkit.errors import AuthError, BadDataError
from jobkit.http import Client, Rate
from jobkit.logs import JsonLines
from jobkit.oauth import ClientCredentials
from jobkit.paging import Cursor, NextLink, Offset

from verification.http_server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "client-secret-0c44e1"


class Vendor(BaseHTTPRequestHandler):
    """An API that wants a token. It sends one row per page, of two, by each way of paging."""

    asked: ClassVar[list[tuple[str, str, str]]] = []
    accepted: ClassVar[set[str]] = set()
    issued = 0
    lifetime: object = 3600

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/token":
            self.issue(body)
        else:
            self.answer(json.loads(body))

    def do_GET(self) -> None:
        self.answer({name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()})

    def issue(self, form: str) -> None:
        Vendor.asked.append(("token", self.headers["Authorization"] or "", form))
        pair = f"robot:{SECRET}"
        if self.headers["Authorization"] != f"Basic {base64.b64encode(pair.encode()).decode()}" and SECRET not in form:
            return self.reply(401, {"error": "invalid_client"})
        Vendor.issued += 1
        token = f"access-token-{Vendor.issued:04}-f3a9"
        Vendor.accepted = {token}
        return self.reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": Vendor.lifetime})

    def answer(self, query: dict[str, Any]) -> None:
        Vendor.asked.append((self.command, self.path, json.dumps(query)))
        if self.headers["Authorization"] not in {f"Bearer {token}" for token in Vendor.accepted}:
            return self.reply(401, {"error": "token expired"})
        number = int(query.get("page", 0))
        rows = [{"day": f"2012-01-0{number + 1}", "value": number}] if number < 2 else []
        link = f'<{urlsplit(self.path).path}?page={number + 1}>; rel="next"' if number == 0 else None
        return self.reply(200, {"data": rows, "next": "1" if number == 0 else None}, link)

    def reply(self, status: int, document: object, link: str | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if link:
            self.send_header("Link", link)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Vendor.asked, Vendor.accepted, Vendor.issued, Vendor.lifetime = [], set(), 0, 3600
    monkeypatch.setenv("ACME_SECRET", SECRET)
    with serve(Vendor) as address:
        yield address


def build(table: rest.Table, **auth: Any) -> rest.Source:
    return rest.Source("https://api.acme.example", (table,), (10_000, 1), rest.ClientCredentials("/token", **auth))


def run(source: rest.Source, url: str) -> dict[str, Any]:
    (request,) = source.build_requests(start=date(2012, 1, 1), end=date(2012, 12, 31), lookback_days=0)
    with source.build_client(["api.acme.example"], base_url=url, client_id="robot", client_secret="env://ACME_SECRET") as client:
        client.retry_timeout_s = 0
        return source.parse(source.fetch(client, request, None).body or b"", request)


ROWS = {"year=2012": {"day": ["2012-01-01", "2012-01-02"], "value": [0, 1]}}


@pytest.mark.parametrize("body", [None, '{"until": "{end}"}'])
@pytest.mark.parametrize("pages", [Cursor("next", "page"), Offset("data", 1, "page", "size", first_page=0), NextLink()])
def test_all_pages_come_with_a_get_or_a_post(url: str, pages: Any, body: str | None) -> None:
    if body and pages == NextLink():
        pytest.skip("a link is the address of a GET")
    table = rest.Table("acme_gold", "/gold", (("from", "{start}"),), body=body, pages=pages, day="day")
    assert run(build(table), url) == ROWS
    assert Vendor.issued == 1
    method, path, query = Vendor.asked[1]
    assert (method, path.partition("?")[0]) == ("POST" if body else "GET", "/gold")
    assert json.loads(query).get("until", "2012-12-31") == "2012-12-31"
    assert "from=2012-01-01" in path


def test_a_refused_token_is_renewed_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(url, hosts=[], accept=("application/json",), rate=Rate(10_000, 1), login=ClientCredentials("/token", "robot", SECRET))
    client.retry_timeout_s = 0
    with client:
        client.get("/gold")
        Vendor.accepted = set()
        assert json.loads(client.get("/gold").body or b"")["next"] == "1"
        assert Vendor.issued == 2
        monkeypatch.setattr(Vendor, "issue", lambda self, _: self.reply(200, {"access_token": "never-accepted-0001"}))
        Vendor.accepted = set()
        with pytest.raises(AuthError, match="token expired"):
            client.get("/gold")


def test_a_token_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [1000.0], list[object]()

    def send(asked: object) -> object:
        sent.append(asked)
        return {"access_token": f"token-number-{len(sent)}", "expires_in": 100}

    monkeypatch.setattr(oauth.time, "monotonic", lambda: now[0])
    login = ClientCredentials("/token", "robot", SECRET, scope="read", in_form=True)
    assert (login.get_token(send), login.get_token(send)) == ("token-number-1",) * 2
    now[0] += 69
    assert login.get_token(send) == "token-number-1"
    now[0] += 2
    assert login.get_token(send) == "token-number-2"
    login.discard("token-number-1")
    assert login.get_token(send) == "token-number-2"


@pytest.mark.parametrize("lifetime", [10**400, "1e999", "nan", "soon", None])
def test_a_token_whose_lifetime_is_no_number_lives_five_minutes(lifetime: object, monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [0.0], list[object]()

    def send(asked: object) -> object:
        sent.append(asked)
        return {"access_token": f"token-number-{len(sent)}", "expires_in": lifetime}

    monkeypatch.setattr(oauth.time, "monotonic", lambda: now[0])
    login = ClientCredentials("/token", "robot", SECRET)
    for now[0] in (0, 269, 271):
        login.get_token(send)
    assert len(sent) == 2


def test_refused_credentials_and_other_answers_are_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rest.Table("acme_gold", "/gold")
    monkeypatch.setenv("ACME_SECRET", "another-secret-77")
    with pytest.raises(AuthError, match="/token refuses us"):
        run(build(table), url)
    with pytest.raises(BadDataError, match="no access_token"):
        ClientCredentials("/token", "robot", SECRET).get_token(lambda _: ["x"])
    with pytest.raises(AuthError, match="invalid_scope; check client id"):
        ClientCredentials("/token", "robot", SECRET).get_token(lambda _: {"error": "invalid_scope"})


def test_no_secret_is_logged_or_stored(url: str, caplog: pytest.LogCaptureFixture) -> None:
    run(build(rest.Table("acme_gold", "/gold"), in_form=True), url)
    token = next(iter(Vendor.accepted))
    with caplog.at_level(logging.INFO, logger="finelt"):
        logging.getLogger("finelt").info("told", extra={"line": f"{token} {SECRET}"})
    assert not {token, SECRET} & set(JsonLines().format(caplog.records[-1]).replace('"', " ").split())


def test_bare_lists_are_pages_too_and_rows_of_another_year_are_refused() -> None:
    source = rest.Source(
        "https://x.example", (rest.Table("a_b", "/", rows="", day="day"), rest.Table("a_c", "/", per="all", rows="x.y")), (1, 1)
    )
    one, other = source.build_requests(start=date(2012, 5, 1), end=date(2012, 5, 2), lookback_days=0)
    assert (one.partitions, other.partitions) == (("year=2012",), ("all=1",))
    row = b'{"day": "2012-05-01"}'
    for body in (b"[[%s], [%s]]" % (row, row), b"[%s, %s]" % (row, row)):
        assert source.parse(body, one) == {"year=2012": {"day": ["2012-05-01"] * 2}}
    assert source.parse(b'{"x": {"y": []}}', other) == {}
    assert source.parse(b'[{"day": null}]', one) == {"year=2012": {"day": [None]}}  # for the contract to quarantine
    for body, message in (
        (b'[{"day": "2013-01-01"}]', "has day 2013-01-01"),
        (b"[1]", "not a list of JSON objects"),
        (b'[[%s], {"error": "limit reached"}]' % row, "not a list of JSON objects"),
    ):
        with pytest.raises(BadDataError, match=message):
            source.parse(body, one)


def test_the_job_has_the_options_of_its_login() -> None:
    def names(auth: Any) -> dict[str, Any]:
        source = rest.Source("https://x.example", (rest.Table("acme_gold", "/"),), (1, 1), auth)
        return {str(one.name): one.default for one in rest.build_options("extract_acme_gold", source, 7, "late")}

    common = {"start", "end", "lookback_days", "base_url"}
    assert set(names(None)) == common
    assert names(rest.Token())["token"] == "env://ACME_TOKEN"
    credentials = names(rest.ClientCredentials("/token"))
    assert set(credentials) == {*common, "client_id", "client_secret"}
    assert credentials["client_secret"] == "env://ACME_CLIENT_SECRET"
