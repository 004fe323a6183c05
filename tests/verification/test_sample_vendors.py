"""What the sample vendors promise: the real vendors' answers, with real values, on this machine alone."""

from __future__ import annotations

import csv
import gzip
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import zipfile
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from verification.sample_vendors import sample, server
from verification.sample_vendors.server import read_request_log, run_server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

ECB = "/www.ecb.europa.eu/stats/eurofxref"
TREASURY = "/home.treasury.gov/resource-center/data-chart-center/interest-rates/daily-treasury-rates.csv"
TIINGO = "/api.tiingo.com/tiingo/daily"
GROUPED = "/api.massive.com/v2/aggs/grouped/locale/us/market/stocks"
FACTS = "/data.sec.gov/api/xbrl/companyfacts"
TOKEN = {"Authorization": "Token any"}
BEARER = {"Authorization": "Bearer any"}
CONTACT = {"User-Agent": "Sample Company admin@sample.example"}


class Reply(NamedTuple):
    """What came back, as it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body as a value, where it says that it is JSON."""
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


def ask(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Reply:
    """One request as it is: no redirect followed, nothing unpacked."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers or {})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server() as base_url:
        yield base_url


def unzipped(reply: Reply, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.namelist() == [name]
        return archive.read(name).decode()


def curve(url: str, year: int) -> list[list[str]]:
    reply = ask(f"{url}{TREASURY}/{year}/all?type=daily_treasury_yield_curve&field_tdr_date_value={year}&page&_format=csv")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv; charset=UTF-8")
    return list(csv.reader(io.StringIO(reply.body.decode())))


def prices(url: str, ticker: str, **query: str) -> list[dict[str, Any]]:
    address = f"{url}{TIINGO}/{ticker}/prices?{urllib.parse.urlencode(query)}"
    reply = ask(address, TOKEN)
    reply = ask(address, TOKEN) if reply.status == 429 else reply
    return list(reply.json())


def facts(url: str, tag: str, unit: str = "USD", taxonomy: str = "us-gaap") -> list[dict[str, Any]]:
    envelope = ask(f"{url}{FACTS}/CIK0000320193.json", CONTACT).json()
    assert (envelope["cik"], envelope["entityName"]) == (320193, "Apple Inc.")
    return list(envelope["facts"][taxonomy][tag]["units"][unit])


def test_the_ecb_history_is_the_ecbs_own_file_limited_to_the_sample(url: str) -> None:
    header, *days = unzipped(ask(f"{url}{ECB}/eurofxref-hist.zip"), "eurofxref-hist.csv").splitlines()
    assert header.startswith("Date,USD,JPY,BGN,CYP,")
    assert header.endswith(",THB,ZAR,")
    assert len(header.split(",")) == 43
    assert (len(days), days[0][:10], days[-1][:10]) == (1069, "2013-02-28", "2009-01-02")
    assert all(day.endswith(",") and day.count(",") == header.count(",") for day in days)
    assert next(day for day in days if day.startswith("2012-12-31")).startswith("2012-12-31,1.3194,113.61,1.9558,N/A,")


def test_the_ecb_daily_file_has_one_row_a_long_date_and_trailing_zeros(url: str) -> None:
    header, day, rest = unzipped(ask(f"{url}{ECB}/eurofxref.zip"), "eurofxref.csv").split("\n")
    assert header.startswith("Date, USD, JPY, BGN, CZK, ")
    assert day.startswith("28 February 2013, 1.3129, 121.07, 1.9558, 25.637, 7.4560, 0.86300, ")
    assert header.endswith(", ZAR, ")
    assert day.endswith(", 11.7550, ")
    assert "N/A" not in day
    assert rest == ""


@pytest.mark.parametrize("name", ["eurofxref-hist.zip", "eurofxref.zip"])
def test_the_ecb_responds_304_to_a_conditional_request(url: str, name: str) -> None:
    etag, modified = (ask(f"{url}{ECB}/{name}").headers[header] for header in ("ETag", "Last-Modified"))
    for condition in ({"If-None-Match": etag}, {"If-None-Match": f'"old", W/{etag}'}, {"If-Modified-Since": modified}):
        reply = ask(f"{url}{ECB}/{name}", condition)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    stale = [{"If-None-Match": '"old"', "If-Modified-Since": modified}, {"If-Modified-Since": "Wed, 27 Feb 2013 00:00:00 GMT"}]
    assert [ask(f"{url}{ECB}/{name}", condition).status for condition in stale] == [200, 200]


def test_the_treasury_has_american_dates_newest_first_and_the_tenors_of_the_year(url: str) -> None:
    header, *days = curve(url, 2012)
    assert header == ["Date", "1 Mo", "3 Mo", "6 Mo", "1 Yr", "2 Yr", "3 Yr", "5 Yr", "7 Yr", "10 Yr", "20 Yr", "30 Yr"]
    assert (days[0][0], days[-1][0]) == ("12/31/2012", "01/03/2012")
    assert dict(zip(header, days[0], strict=True)) | {"2 Yr": "0.25", "10 Yr": "1.78"} == dict(zip(header, days[0], strict=True))
    assert sum(len(curve(url, year)) - 1 for year in range(2009, 2014)) == 1252
    first_line = ask(f"{url}{TREASURY}/2012/all?type=daily_treasury_yield_curve").body.partition(b"\n")[0]
    assert first_line.startswith(b'Date,"1 Mo","3 Mo",')


def test_the_only_blank_row_of_the_treasury_is_columbus_day_2010(url: str) -> None:
    blank = [day[0] for year in range(2009, 2014) for day in curve(url, year)[1:] if not any(day[1:])]
    assert blank == ["10/11/2010"]


@pytest.mark.parametrize(
    ("year", "has", "lacks"), [(2000, "30 Yr", "1 Mo"), (2014, "1 Mo", "2 Mo"), (2019, "2 Mo", "4 Mo"), (2025, "1.5 Month", "2")]
)
def test_a_year_without_data_has_a_header_only(url: str, year: int, has: str, lacks: str) -> None:
    (header,) = curve(url, year)
    assert has in header
    assert lacks not in header


def test_the_treasury_serves_single_months(url: str) -> None:
    reply = ask(f"{url}{TREASURY}/all/201012?type=daily_treasury_yield_curve")
    days = reply.body.decode().splitlines()[1:]
    assert len(days) == 22
    assert all(day.startswith("12/") and day[6:10] == "2010" for day in days)


def test_tiingo_serves_the_requested_days_with_raw_and_adjusted_prices(url: str) -> None:
    first, ex_date = prices(url, "aapl", startDate="2012-08-08", endDate="2012-08-09")
    assert list(first) == [
        "date", "close", "high", "low", "open", "volume",
        "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume", "divCash", "splitFactor",
    ]  # fmt: skip
    assert (first["date"], ex_date["date"]) == ("2012-08-08T00:00:00.000Z", "2012-08-09T00:00:00.000Z")
    assert (first["close"], first["divCash"], ex_date["divCash"], ex_date["splitFactor"]) == (619.86, 0.0, 2.65, 1.0)
    assert first["adjClose"] / first["close"] == pytest.approx(ex_date["adjClose"] / ex_date["close"] * (1 - 2.65 / 619.86), rel=1e-12)
    assert isinstance(first["volume"], int)


def test_tiingo_serves_one_row_that_its_contract_rejects_on_a_day_without_a_session(url: str) -> None:
    before, bad, after = prices(url, "IBM", startDate="2012-10-26", endDate="2012-10-31")
    assert [row["date"][:10] for row in (before, bad, after)] == ["2012-10-26", "2012-10-29", "2012-10-31"]
    assert "2012-10-29" not in {bar.session for bars in sample.bars().values() for bar in bars}
    assert (bad["close"], bad["high"], bad["divCash"], bad["splitFactor"]) == (before["close"], 0.0, 0.0, 1.0)
    assert all(row["low"] <= row["close"] <= row["high"] for row in prices(url, "IBM", startDate="2009-07-01") if row != bad)


def test_tiingo_serves_the_last_day_if_no_date_is_given(url: str) -> None:
    (last,) = prices(url, "AAPL")
    assert (last["date"][:10], last["close"], last["adjClose"]) == ("2013-02-28", 441.4, 441.4)
    assert prices(url, "AAPL", startDate="2013-01-01", endDate="2012-01-01") == []


def test_tiingo_serves_csv_on_request(url: str) -> None:
    reply = ask(f"{url}{TIINGO}/IBM/prices?format=csv&startDate=2012-01-03&endDate=2012-01-04", TOKEN)
    header, first, _ = reply.body.decode().splitlines()
    assert reply.headers["Content-Type"] == "text/csv"
    assert header.startswith("date,close,high,low,open,volume,adjClose,")
    assert first.startswith("2012-01-03,186.3,")


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"Authorization": "Bearer any"}, 401), ({"Authorization": "Token refused"}, 403)]
)
def test_tiingo_requires_a_token(url: str, headers: dict[str, str], status: int) -> None:
    reply = ask(f"{url}{TIINGO}/AAPL/prices", headers)
    assert (reply.status, list(reply.json())) == (status, ["detail"])


def test_tiingo_responds_404_for_other_tickers(url: str) -> None:
    reply = ask(f"{url}{TIINGO}/NOPE/prices", TOKEN)
    assert (reply.status, reply.json()) == (404, {"detail": "Error: Ticker 'NOPE' not found"})


def test_tiingo_describes_a_ticker_and_tests_a_token(url: str) -> None:
    assert ask(f"{url}{TIINGO}/MSFT", TOKEN).json()["startDate"] == "2009-07-01"
    assert ask(f"{url}/api.tiingo.com/api/test", TOKEN).json() == {"message": "You successfully sent a request"}


def test_tiingo_rejects_the_first_request_for_goog_as_busy() -> None:
    with run_server() as url:
        first, second, other = (ask(f"{url}{TIINGO}/{ticker}/prices", TOKEN) for ticker in ("GOOG", "GOOG", "AAPL"))
    assert (first.status, first.headers["Retry-After"], list(first.json())) == (429, "1", ["detail"])
    assert (second.status, other.status) == (200, 200)


def test_every_ticker_has_every_session_of_the_sample(url: str) -> None:
    sessions = {ticker: [price["date"][:10] for price in prices(url, ticker, startDate="2000-01-01")] for ticker in sample.TICKERS}
    assert len(sessions["AAPL"]) == 922
    assert (sessions["AAPL"][0], sessions["AAPL"][-1]) == ("2009-07-01", "2013-02-28")
    sessions["IBM"].remove("2012-10-29")
    assert all(dates == sessions["AAPL"] for dates in sessions.values())


def test_the_dividends_are_the_steps_in_the_adjusted_prices_of_the_price_file() -> None:
    """Ex-dates agree exactly; amounts to 5 %, which is what the file's own factors are good for."""
    with gzip.open(sample.wheel_file("bokeh_sampledata", "_data/stocks.csv.gz"), "rt") as lines:
        rows = [row for row in csv.DictReader(lines) if sample.FIRST_SESSION <= row["Date"] <= sample.LAST_SESSION]
    stepped = {}
    for ticker, days in groupby(rows, key=lambda row: row["Ticker"]):
        for before, day in pairwise(days):
            ratio, next_ratio = (float(row["Adj Close"]) / float(row["Close"]) for row in (before, day))
            if abs(1 - ratio / next_ratio) > 1e-6:
                stepped[ticker, day["Date"]] = float(before["Close"]) * (1 - ratio / next_ratio)
    declared = {(row["ticker"], row["ex_date"]): float(row["dividend_usd"]) for row in sample.table("dividends")}
    assert declared == pytest.approx(stepped, rel=0.05)
    assert len(declared) == 33


def test_massive_serves_one_bar_per_security_at_the_close(url: str) -> None:
    answer = ask(f"{url}{GROUPED}/2012-08-09?adjusted=false&include_otc=false", BEARER).json()
    assert {name: answer[name] for name in ("queryCount", "resultsCount", "count", "adjusted", "status")} == {
        "queryCount": 4, "resultsCount": 4, "count": 4, "adjusted": False, "status": "OK",
    }  # fmt: skip
    apple = answer["results"][0]
    raw = prices(url, "AAPL", startDate="2012-08-09", endDate="2012-08-09")[0]
    assert apple["T"] == "AAPL"
    assert [apple[name] for name in "ohlcv"] == [raw[name] for name in ("open", "high", "low", "close", "volume")]
    assert apple["t"] == 1344542400000  # 16:00 EDT
    winter = ask(f"{url}{GROUPED}/2012-12-31?apiKey=any&adjusted=false").json()
    assert winter["results"][0]["t"] == 1356987600000  # 16:00 EST


def test_massive_has_a_new_request_id_per_response_and_volumes_in_scientific_notation(url: str) -> None:
    replies = [ask(f"{url}{GROUPED}/2009-07-01?adjusted=false", BEARER) for _ in range(2)]
    first, second = (reply.json() for reply in replies)
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second
    assert b'"v":1.47921E+7' in replies[0].body


@pytest.mark.parametrize("day", ["2012-07-04", "2012-10-29", "2012-12-29"])
def test_massive_omits_the_results_of_a_day_without_a_session(url: str, day: str) -> None:
    reply = ask(f"{url}{GROUPED}/{day}?adjusted=false", BEARER)
    assert reply.status == 200
    assert (reply.json()["resultsCount"], "results" in reply.json()) == (0, False)


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "word"),
    [
        ("2999-01-04", BEARER, 403, "NOT_AUTHORIZED"),
        ("2009-06-30", BEARER, 403, "NOT_AUTHORIZED"),
        ("2012-02-30", BEARER, 400, "ERROR"),
        ("2012-08-09", {}, 401, "ERROR"),
        ("2012-08-09?apiKey=refused", {}, 401, "ERROR"),
    ],
)
def test_massive_refuses_with_json(url: str, request_line: str, headers: dict[str, str], status: int, word: str) -> None:
    reply = ask(f"{url}{GROUPED}/{request_line}", headers)
    assert (reply.status, reply.json()["status"]) == (status, word)


def test_the_sec_serves_every_version_of_a_fact(url: str) -> None:
    revenue = [fact for fact in facts(url, "SalesRevenueNet") if (fact["start"], fact["end"]) == ("2008-09-28", "2009-09-26")]
    assert [(fact["val"], fact["form"], fact["filed"]) for fact in revenue] == [
        (36537000000, "10-K", "2009-10-27"),
        (42905000000, "10-K/A", "2010-01-25"),
        (42905000000, "10-K", "2010-10-27"),
        (42905000000, "10-K", "2011-10-26"),
    ]
    assert [fact.get("frame") for fact in revenue] == [None, None, None, "CY2009"]
    assert revenue[0] == {
        "start": "2008-09-28", "end": "2009-09-26", "val": 36537000000, "accn": "0001193125-09-214859",
        "fy": 2009, "fp": "FY", "form": "10-K", "filed": "2009-10-27",
    }  # fmt: skip


def test_apples_figures_of_fiscal_2012_are_as_reported(url: str) -> None:
    for tag, value in {"SalesRevenueNet": 156508000000, "NetIncomeLoss": 41733000000}.items():
        versions = [fact for fact in facts(url, tag) if (fact["start"], fact["end"]) == ("2011-09-25", "2012-09-29")]
        assert {fact["val"] for fact in versions} == {value}
        assert versions[0]["filed"] == "2012-10-31"
    assert 44.15 in {fact["val"] for fact in facts(url, "EarningsPerShareDiluted", "USD/shares")}


def test_the_facts_cover_the_marts_and_end_with_filings_of_2013(url: str) -> None:
    envelope = ask(f"{url}{FACTS}/CIK0000320193.json", CONTACT).json()["facts"]
    assert {tag for tags in envelope.values() for tag in tags} == {
        "SalesRevenueNet", "NetIncomeLoss", "EarningsPerShareBasic", "EarningsPerShareDiluted",
        "WeightedAverageNumberOfSharesOutstandingBasic", "WeightedAverageNumberOfDilutedSharesOutstanding",
        "Assets", "StockholdersEquity", "NetCashProvidedByUsedInOperatingActivities", "CommonStockSharesOutstanding",
        "EntityCommonStockSharesOutstanding",
    }  # fmt: skip
    versions = [(tag, fact) for tags in envelope.values() for tag, body in tags.items() for unit in body["units"].values() for fact in unit]
    assert len(versions) == 752
    assert max(fact["filed"] for _, fact in versions) == "2013-10-30"
    keys = [(tag, fact.get("start"), fact["end"], fact["accn"]) for tag, fact in versions]
    frames = [(tag, fact["frame"]) for tag, fact in versions if "frame" in fact]
    assert len(set(keys)) == len(keys)
    assert len(set(frames)) == len(frames)
    assert all(date.fromisoformat(fact["end"]) <= date.fromisoformat(fact["filed"]) for _, fact in versions)


def test_the_sec_sends_chunks_gzipped_on_request_and_no_etag(url: str) -> None:
    plain = ask(f"{url}{FACTS}/CIK0000320193.json", CONTACT)
    packed = ask(f"{url}{FACTS}/CIK0000320193.json", {**CONTACT, "Accept-Encoding": "gzip, deflate"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert (packed.headers["Transfer-Encoding"], packed.headers["ETag"], packed.headers["Vary"]) == (
        "chunked", None, "Accept-Encoding",
    )  # fmt: skip


def test_on_a_past_day_a_vendor_has_nothing_later(url: str) -> None:
    envelope = ask(f"{url}/2010-01-24{FACTS}/CIK0000320193.json", CONTACT).json()["facts"]
    filed = {fact["filed"] for tags in envelope.values() for tag in tags.values() for unit in tag["units"].values() for fact in unit}
    assert max(filed) == "2009-10-27"
    assert [day[0] for day in curve(f"{url}/2013-01-03", 2013)[1:]] == ["01/03/2013", "01/02/2013"]
    assert ask(f"{url}/2013-01-03/~unavailable{TREASURY}/2013/all").status == 503


@pytest.mark.parametrize("path", [f"{FACTS}/CIK0000320193.json", "/www.sec.gov/files/company_tickers.json"])
def test_the_sec_refuses_an_undeclared_client_with_a_page(url: str, path: str) -> None:
    for headers in ({}, {"User-Agent": "python-requests/2.34"}):
        reply = ask(url + path, headers)
        assert (reply.status, reply.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
        assert b"Undeclared Automated Tool" in reply.body


def test_the_sec_responds_to_an_unknown_cik_with_xml(url: str) -> None:
    reply = ask(f"{url}{FACTS}/CIK0000000001.json", CONTACT)
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/xml")
    assert b"<Code>NoSuchKey</Code>" in reply.body
    assert b"<Key>api/xbrl/companyfacts/CIK0000000001.json</Key>" in reply.body


def test_the_sec_lists_two_tickers_under_one_filer(url: str) -> None:
    filers = ask(f"{url}/www.sec.gov/files/company_tickers.json", CONTACT).json()
    assert list(filers) == ["0", "1", "2", "3", "4"]
    assert filers["1"] == {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}
    assert {(filer["ticker"], filer["cik_str"]) for filer in filers.values()} == {
        ("AAPL", 320193), ("IBM", 51143), ("MSFT", 789019), ("GOOG", 1652044), ("GOOGL", 1652044),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "status", "header", "value"),
    [
        ("html", 200, "Content-Type", "text/html; charset=utf-8"),
        ("unavailable", 503, "Content-Type", "text/html; charset=utf-8"),
        ("limited", 429, "Retry-After", "1"),
        ("redirected", 302, "Location", "http://elsewhere.invalid/"),
    ],
)
def test_a_fault_is_requested_in_the_base_url(url: str, fault: str, status: int, header: str, value: str) -> None:
    reply = ask(f"{url}/~{fault}{ECB}/eurofxref.zip")
    assert (reply.status, reply.headers[header]) == (status, value)
    assert ask(f"{url}{ECB}/eurofxref.zip").status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [(f"{ECB}/eurofxref.zip", {}), (f"{FACTS}/CIK0000320193.json", CONTACT), (f"{TIINGO}/IBM/prices?startDate=2012-01-03", TOKEN)],
)
def test_a_truncated_body_is_shorter_than_its_length(url: str, path: str, headers: dict[str, str]) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(f"{url}/~truncated{path}", headers)


def test_a_fault_can_end_after_some_requests_to_each_path(url: str) -> None:
    for name in ("eurofxref.zip", "eurofxref-hist.zip"):
        assert [ask(f"{url}/~unavailable-2{ECB}/{name}").status for _ in range(3)] == [503, 503, 200]


def test_a_slow_response_is_complete(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOW_S", 0.3)
    started = time.monotonic()
    assert ask(f"{url}/~slow{ECB}/eurofxref.zip").status == 200
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("path", ["/", "/nobody.example/x", f"/~nonsense{ECB}/eurofxref.zip", "/~html"])
def test_an_unknown_vendor_or_fault_gets_the_list_of_known_ones(url: str, path: str) -> None:
    reply = ask(url + path)
    assert reply.status == 404
    assert set(reply.json()) == {"error", "vendors", "faults"}


@pytest.mark.parametrize("host", server.VENDORS)
def test_an_unknown_path_is_404(url: str, host: str) -> None:
    assert ask(f"{url}/{host}/nothing/here", {**CONTACT, **TOKEN}).status == 404


def test_the_log_has_each_request() -> None:
    with run_server() as url:
        ask(f"{url}{ECB}/eurofxref.zip?x=1")
        ask(f"{url}{TIINGO}/AAPL/prices", method="HEAD")
        assert read_request_log(url) == [("GET", f"{ECB}/eurofxref.zip?x=1", 200), ("HEAD", f"{TIINGO}/AAPL/prices", 401)]


def test_a_connection_is_kept_alive(url: str) -> None:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)
    connection.connect()
    kept = connection.sock
    for headers in ({}, {"If-None-Match": "*"}, CONTACT):
        for path in (f"{ECB}/eurofxref.zip", f"{FACTS}/CIK0000320193.json"):
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()
    assert connection.sock is kept
    connection.close()


def test_closing_ends_idle_and_waiting_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOW_S", 600)
    vendors = serve()
    idle, waiting = (socket.create_connection(vendors.server_address, timeout=120) for _ in range(2))
    idle.sendall(f"GET {ECB}/nothing HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert idle.recv(65536)
    waiting.sendall(f"GET /~slow{ECB}/eurofxref.zip HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while not any("~slow" in request.path for request in vendors.request_log):
        time.sleep(0.01)
    started = time.monotonic()
    vendors.close()
    while idle.recv(65536):
        pass
    assert time.monotonic() - started < 300  # it does not wait for the slow response
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(vendors.server_address, timeout=120)
    idle.close()
    waiting.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_program_prints_its_url_and_stops_on_sigterm(stop: signal.Signals) -> None:
    program = Path(server.__file__).parent
    with subprocess.Popen([sys.executable, program, "--port", "0"], stdout=subprocess.PIPE, text=True, cwd="/", env={}) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(f"{url}{ECB}/eurofxref.zip").status == 200
        process.send_signal(stop)
        assert process.wait(timeout=120) == 0
        assert process.stdout.read() == ""


def test_a_port_in_use_is_an_error(url: str) -> None:
    port = str(urllib.parse.urlsplit(url).port)
    program = Path(server.__file__).parent
    ended = subprocess.run([sys.executable, program, "--port", port], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr == f"sample_vendors: cannot listen on 127.0.0.1:{port} (Address already in use); --port 0 takes a free port\n"
