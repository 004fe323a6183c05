"""Legal entities and identifiers of securities as of any moment, against a reading of the vendors' bytes."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import psycopg
import pytest
from jobkit.lake import Lake
from transform_warehouse.project import find_project

from tests import recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.small_project import copy_small_project
from tests.warehouse.samples import load
from verification.sample_vendors import gleif, gleif_isins, openfigi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

QUESTIONS = 500
NO_ENTITY = (None,) * 10
BUILT = (0, 3)  # deliveries after which the marts are built
MARTS = ("dim_legal_entity", "dim_legal_relationship", "dim_security_identifier", "dim_security", "dim_issuer")
ENTITIES, RELATIONSHIPS, EXCEPTIONS = "gleif_entities", "gleif_relationships", "gleif_exceptions"
NAMES = {ENTITIES: "lei2", RELATIONSHIPS: "rr", EXCEPTIONS: "repex"}
APPLE, ENERGY, MICROSOFT, PUMA = "HWUPKR0MPOU8FGXBT394", "549300YX4S1LLSMK2627", "INR2EJN1ERAN0W5ZP974", "529900GRZ2BQY5ZM9N49"
COMMERZBANK, AMAZON, CANADA = "851WYGNLUQLFZBSYGB56", "ZXTILKJKG63JELOEG630", "5299003P2JQIMN2SR117"
FUND = "549300LBI3LRIZ2V8V66"
BEGIN = datetime(2025, 3, 4, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class File:
    """A published file: its rows in parts, and whether all of it arrived."""

    dataset: str
    content: str
    kind: str
    parts: list[list[dict[str, str]]]
    start: str = ""
    is_whole: bool = True

    def answers(self) -> list[Answer]:
        name = f"content={self.content.replace('-', '').replace(':', '')}/file={self.kind}"
        found = [recorded_lake.gleif(self.dataset, name, n, self.document(rows)) for n, rows in enumerate(self.parts, 1)]
        return [*found, *([recorded_lake.gleif_file(self.dataset, name, self.document([]))] if self.is_whole else [])]

    def document(self, rows: Sequence[dict[str, str]]) -> bytes:
        return gleif.document(NAMES[self.dataset], rows, self.content, self.start)


def full(dataset: str, content: str, **changes: Any) -> File:
    """The sample's full file of a day, with all rows but those of `without`, and `more`."""
    rows = [row for row in gleif.select(NAMES[dataset], content, "") if row.get("lei", row.get("child")) not in changes.get("without", ())]
    return File(dataset, content, "full", [rows + changes.get("more", [])])


def sample_row(dataset: str, key: str, **changes: str) -> dict[str, str]:
    (row, *_) = [row for row in gleif.select(NAMES[dataset], gleif.LAST_CONTENT + "T", "") if row.get("lei", row.get("child")) == key]
    return {**row, **changes}


def apple_line(**changes: str) -> dict[str, Any]:
    (line,) = openfigi.find({"idType": "TICKER", "idValue": "AAPL", "exchCode": "US"})["data"]  # type: ignore[attr-defined]
    return {**line, **changes}


ASKED = [{"idType": "TICKER", "idValue": ticker, "exchCode": "US"} for ticker in ("AAPL", "MSFT", "BRK/B", "AMZN", "IBM")]
NOTHING: dict[str, Any] = {"warning": "No identifier found."}
AMAZON_LINE = apple_line(figi="BBG000BVPV84", compositeFIGI="BBG000BVPV84", shareClassFIGI="BBG001S5PQL7", ticker="AMZN", name="AMAZON.COM")
OTHERS: list[dict[str, Any]] = [{"data": [AMAZON_LINE]}, openfigi.find(ASKED[-1])]
D1, D2, D3, D4 = (f"2025-03-{day:02}T00:00:00Z" for day in (4, 5, 6, 20))
DELETED = {"deleted_at": "2025-03-05T18:50:35Z"}
IRISH_APPLE = sample_row(ENTITIES, APPLE, country="IE")
ENDED = sample_row(
    ENTITIES, ENERGY, status="INACTIVE", registration_status="MERGED", ended="2025-03-01T00:00:00Z", successors=f"{APPLE} {MICROSOFT}"
)
PUMAS = [sample_row(ENTITIES, lei, authority="RA000665", authority_number=cik) for lei, cik in ((PUMA, "111"), (CANADA, "222"))]
SECOND_APPLE = sample_row(ENTITIES, FUND, authority="RA000665", authority_number="320193")
DUPLICATE = {**SECOND_APPLE, "registration_status": "DUPLICATE", "successors": APPLE}
EXCEPTION = sample_row(EXCEPTIONS, COMMERZBANK, **DELETED)
DELIVERIES: list[list[File]] = [
    [
        full(ENTITIES, D1, more=PUMAS),
        full(RELATIONSHIPS, D1, more=[sample_row(RELATIONSHIPS, ENERGY, parent=MICROSOFT, status="INACTIVE")]),
        full(EXCEPTIONS, D1),
    ],
    [  # of two records of Apple in one delta the last is right; Energy gets a second parent; a file did not arrive as a whole
        File(ENTITIES, D2, "LastDay", [[sample_row(ENTITIES, APPLE, legal_name="APPLE COMPUTER")], [IRISH_APPLE, SECOND_APPLE]], D1),
        File(RELATIONSHIPS, D2, "LastDay", [[sample_row(RELATIONSHIPS, ENERGY, parent=PUMA)]], D1),
        File(EXCEPTIONS, D2, "LastDay", [[EXCEPTION]], D1, is_whole=False),
    ],
    [  # a longer delta repeats the shorter one and goes on; a relationship and an exception are removed
        File(ENTITIES, D3, "LastWeek", [[IRISH_APPLE, {**PUMAS[0], "registration_status": "LAPSED"}, DUPLICATE, ENDED]], D1),
        File(
            RELATIONSHIPS,
            D3,
            "LastDay",
            [
                [
                    sample_row(RELATIONSHIPS, ENERGY, **DELETED),
                    sample_row(RELATIONSHIPS, CANADA, status="INACTIVE", period_end="2025-03-01T23:00:00Z"),
                ]
            ],
            D2,
        ),
        File(EXCEPTIONS, D3, "LastDay", [[EXCEPTION]], D2),
    ],
    [full(ENTITIES, D4, without=(AMAZON,), more=PUMAS), full(RELATIONSHIPS, D4, without=(CANADA,)), full(EXCEPTIONS, D4)],
]
MAPPINGS: list[list[dict[str, Any]]] = [
    [{"data": [apple_line()]}, NOTHING, NOTHING],
    [{"data": [apple_line(), apple_line(figi="BBG000B9Y5X2", exchCode="UW")]}, NOTHING, NOTHING],
    [{"data": [apple_line(), apple_line(figi="BBG000BLNNH6", shareClassFIGI="BBG001S5S399")]}, NOTHING, NOTHING],
    [{"data": [apple_line(name="APPLE INC.")]}, NOTHING, NOTHING],
]
APPLE_ISIN, IBM_ISIN, AMAZON_ISIN, MICROSOFT_ISIN, SHARED_ISIN = (
    "US0378331005", "US4592001014", "US0231351067", "US5949181045", "DE0006969603"
)  # fmt: skip
IBM = "VGRQXHF3J8VDLUA7XE92"
ASKED_ISINS = [{"idType": "ID_ISIN", "idValue": isin} for isin in (APPLE_ISIN, IBM_ISIN, AMAZON_ISIN, MICROSOFT_ISIN, SHARED_ISIN)]
MICROSOFT_LINE = apple_line(figi="BBG000BPH459", compositeFIGI="BBG000BPH459", shareClassFIGI="BBG001S5TD05", ticker="MSFT")
# Microsoft's share class is that of no security, as its ticker is not found. One ISIN has the share classes of Apple and Amazon, but once.
MAPPED_ISINS: list[list[dict[str, Any]]] = [
    [*map(openfigi.find, ASKED_ISINS[:2]), {"data": [AMAZON_LINE]}, {"data": [MICROSOFT_LINE]}, {"data": shared}]  # type: ignore[list-item]
    for shared in ([apple_line(), AMAZON_LINE], [apple_line(), AMAZON_LINE], [AMAZON_LINE], [apple_line(), AMAZON_LINE])
]
IBM_ENTITY = sample_row(ENTITIES, PUMA, lei=IBM, legal_name="INTERNATIONAL BUSINESS MACHINES CORPORATION")
# GLEIF is asked again about the ISINs whose answer changes, and about Amazon's each time.
ISSUERS: list[dict[str, list[dict[str, str]]]] = [
    {
        APPLE_ISIN: [sample_row(ENTITIES, APPLE), sample_row(ENTITIES, ENERGY)],
        IBM_ISIN: [],
        AMAZON_ISIN: [],
        MICROSOFT_ISIN: [sample_row(ENTITIES, MICROSOFT)],
        SHARED_ISIN: [sample_row(ENTITIES, PUMA)],
    },
    {IBM_ISIN: [IBM_ENTITY], AMAZON_ISIN: []},
    {AMAZON_ISIN: []},
    {
        APPLE_ISIN: [sample_row(ENTITIES, APPLE)],
        IBM_ISIN: [IBM_ENTITY, sample_row(ENTITIES, FUND, registration_status="DUPLICATE")],
        AMAZON_ISIN: [sample_row(ENTITIES, AMAZON)],
    },
]
# OpenFIGI is asked about Amazon and IBM before we have their prices. IBM's prices of an earlier year come last. Puma's ticker passes to
# another issuer, which counts as soon as there are later prices.
PRICES: list[dict[str, list[str]]] = [
    {"AAPL": ["2025-03-03"], "MSFT": ["2025-03-03"], "PUM": ["2025-03-03"]},
    {"AMZN": ["2025-03-03"]},
    {"IBM": ["2025-03-05"], "GOOGL": ["2025-03-05"]},
    {"IBM": ["2024-12-30", "2025-03-05"], "PUM": ["2025-03-03", "2025-03-06"]},
]
LISTED = {"AAPL": (320193, "Apple Inc."), "MSFT": (789019, "MICROSOFT CORP"), "GOOGL": (1288776, "Google Inc."), "PUM": (111, "Puma")}
LISTED_LATER = {
    **LISTED, "AMZN": (1018724, "AMAZON COM INC"), "IBM": (51143, "IBM"), "GOOGL": (1652044, "Alphabet Inc."), "PUM": (222, "Puma Canada"),
}  # fmt: skip
LISTS = [LISTED, LISTED, LISTED_LATER, {**LISTED_LATER, "AAPL": (320193, "Apple Incorporated")}]
FILED: list[dict[int, list[str]]] = [
    {789019: ["2012-07-26"]},
    {320193: ["2013-01-24"], 1288776: ["2012-10-25"]},
    {320193: ["2013-01-24", "2012-10-31"]},
    {},
]


@dataclass(frozen=True)
class Story:
    """A warehouse after four deliveries, the moment at which each was whole, and the marts after those of BUILT."""

    warehouse: Warehouse
    moments: list[datetime]
    answers: list[list[Answer]]
    marts: dict[int, dict[str, list[str]]]
    lake: Path


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("identity")
    project = copy_small_project(folder / "dbt", *MARTS)
    moments: list[datetime] = []
    delivered: list[list[Answer]] = []
    marts: dict[int, dict[str, list[str]]] = {}
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database identity")
        url = postgres_server.url.replace("/warehouse", "/identity")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        for number, (files, mappings) in enumerate(zip(DELIVERIES, MAPPINGS, strict=True)):
            lake = Lake(str(folder / "lake"), BEGIN + timedelta(days=number))
            found = [answer for file in files for answer in file.answers()]
            mapped = recorded_lake.openfigi([*ASKED, *ASKED_ISINS], [*mappings, *OTHERS, *MAPPED_ISINS[number]])
            issuers = [
                recorded_lake.gleif_isin(isin, gleif_isins.document(rows, files[0].content)) for isin, rows in ISSUERS[number].items()
            ]
            delivered.append([*found, mapped, *issuers, *other_vendors(number)])
            for answer in delivered[-1]:
                recorded_lake.commit(lake, answer)
            moments.append(BEGIN + timedelta(days=number))
            if number in BUILT:
                load(recorded_lake.lake_path(lake), warehouse)
                receipt = recorded_lake.transform(warehouse, "--project", str(project))
                assert receipt["details"]["changes_only"] is (number > 0)
                marts[number] = read_marts(warehouse)
        yield Story(warehouse, moments, delivered, marts, folder / "lake")
        admin.execute("drop database identity with (force)")


def prices(ticker: str, days: Sequence[str]) -> Answer:
    words = {"divCash": 0.0, "splitFactor": 1.0, "volume": 1, "adjVolume": 1}
    price = {**words, **{name: 10.0 for word in ("open", "high", "low", "close") for name in (word, f"adj{word.capitalize()}")}}
    return recorded_lake.tiingo(ticker, [{**price, "date": f"{day}T00:00:00.000Z"} for day in days])


def other_vendors(number: int) -> list[Answer]:
    """Prices, filers and filings of a delivery."""
    rows = {str(n): {"cik_str": cik, "ticker": ticker, "title": name} for n, (ticker, (cik, name)) in enumerate(LISTS[number].items())}
    return [
        *(prices(ticker, days) for ticker, days in PRICES[number].items()),
        recorded_lake.filers(json.dumps(rows).encode()),
        *(company_facts(cik, filed) for cik, filed in FILED[number].items()),
    ]


def company_facts(cik: int, filed: Sequence[str]) -> Answer:
    """One fact of each filing."""
    period = {"start": "2011-10-01", "end": "2012-09-30", "val": 1, "fy": 2012, "fp": "FY", "form": "10-K"}
    rows = [{**period, "accn": f"{cik:010}-13-{number:06}", "filed": day} for number, day in enumerate(filed)]
    facts = {"us-gaap": {"NetIncomeLoss": {"label": None, "description": None, "units": {"USD": rows}}}}
    return recorded_lake.facts(cik, json.dumps({"cik": cik, "entityName": f"Issuer {cik}", "facts": facts}).encode())


def read_marts(warehouse: Warehouse, schema: str = "marts", as_of: datetime | None = None) -> dict[str, list[str]]:
    """The rows of the marts as JSON, in order."""
    with warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [str(as_of or "")])
        return {
            name: sorted(row for (row,) in connection.execute(f"select to_jsonb(mart)::text from {schema}.{name} as mart".encode()))
            for name in MARTS
        }


@cache
def read_state(deliveries: int) -> dict[str, dict[Any, dict[str, Any]]]:
    """The records of each key after some deliveries, from the bytes of the files that were whole by then."""
    state: dict[str, dict[Any, dict[str, Any]]] = {name: {} for name in NAMES}
    for files in DELIVERIES[:deliveries]:
        for file in files:
            if not file.is_whole:
                continue
            if not file.start:
                state[file.dataset].clear()
            for document in map(file.document, file.parts):
                for record in list(list(ET.fromstring(document))[1]):  # noqa: S314  our own bytes
                    texts = {element.tag.rpartition("}")[2]: element.text or "" for element in record.iter()}
                    leis = [element.text for element in record.iter() if element.tag.endswith("}NodeID")]
                    key = (*leis, texts.get("RelationshipType")) if leis else (texts["LEI"], texts.get("ExceptionCategory"))
                    countries = [element.text for element in record.iter() if element.tag.endswith("}Country")]
                    more = {"Country": next(iter(countries), ""), "Successors": texts_of(record, "SuccessorLEI")}
                    state[file.dataset][key] = {**texts, **more, "Periods": periods_of(record)}
    return state


def texts_of(record: ET.Element, name: str) -> list[str]:
    return [element.text or "" for element in record.iter() if element.tag.endswith("}" + name)]


def periods_of(record: ET.Element) -> dict[str, list[list[date]]]:
    """Start, and end if there is one, of each period by its type."""
    found: dict[str, list[list[date]]] = {}
    for period in [element for element in record.iter() if element.tag.endswith("}RelationshipPeriod")]:
        days = [date.fromisoformat(text[:10]) for name in ("StartDate", "EndDate") for text in texts_of(period, name)]
        found.setdefault(texts_of(period, "PeriodType")[0], []).append(days)
    return found


def expect(lei: str, moment: datetime, moments: Sequence[datetime]) -> tuple[Any, ...] | None:
    """Name, country, statuses, direct parent, how many there are, why there is none, end, successor; None for an entity not known."""
    state = read_state(sum(known_at <= moment for known_at in moments))
    entity = state[ENTITIES].get((lei, None))
    if entity is None:
        return None
    parents = [
        parent
        for (child, parent, kind), record in state[RELATIONSHIPS].items()
        if (child, kind) == (lei, "IS_DIRECTLY_CONSOLIDATED_BY") and record["RelationshipStatus"] == "ACTIVE" and "DeletedAt" not in record
    ]
    exception = state[EXCEPTIONS].get((lei, "DIRECT_ACCOUNTING_CONSOLIDATION_PARENT"))
    reason = f'["{exception["ExceptionReason"]}"]' if exception and "DeletedAt" not in exception else None
    figures = (entity["LegalName"], entity["Country"], entity["EntityStatus"], entity["RegistrationStatus"])
    ended = date.fromisoformat(entity["EntityExpirationDate"][:10]) if "EntityExpirationDate" in entity else None
    successors = entity["Successors"]
    end = (ended, successors[0] if len(successors) == 1 else None, len(successors))
    return (*figures, parents[0] if len(parents) == 1 else None, len(parents), reason, *end)


ENTITY_SQL = """
select
    mart.legal_name, mart.country, mart.entity_status, mart.registration_status,
    mart.direct_parent_lei, mart.direct_parent_count, mart.direct_parent_exception,
    mart.ended_on, mart.successor_lei, mart.successor_count
from unnest(%s::text[], %s::timestamptz[]) with ordinality as question (lei, moment, number)
left join marts.dim_legal_entity as mart on mart.lei = question.lei and known_at <= moment and known_to > moment
order by number
"""


def test_entities_at_any_moment_are_those_in_the_bytes_without_look_ahead(story: Story) -> None:
    rng = random.Random(7)  # noqa: S311  the same questions every time
    leis = sorted({row["lei"] for row in gleif.select("lei2", D4, "")})
    steps = [timedelta(microseconds=-1), timedelta(), timedelta(hours=5), timedelta(days=-1), timedelta(days=400)]
    questions = [(rng.choice(leis), rng.choice(story.moments) + rng.choice(steps)) for _ in range(QUESTIONS)]
    with story.warehouse.connect() as connection:
        found = connection.execute(ENTITY_SQL, [list(column) for column in zip(*questions, strict=True)]).fetchall()
    expected = [expect(lei, moment, story.moments) or NO_ENTITY for lei, moment in questions]
    assert found == expected
    energy = {row[4:6] for (lei, _), row in zip(questions, found, strict=True) if lei == ENERGY}
    assert energy == {(None, None), (APPLE, 1), (None, 2), (PUMA, 1)}  # unknown, one parent, ambiguous, one was removed
    ends = {(lei, *row[3:4], *row[7:]) for (lei, _), row in zip(questions, found, strict=True)}
    assert {(ENERGY, "MERGED", date(2025, 3, 1), None, 2), (FUND, "DUPLICATE", None, APPLE, 1), (FUND, "LAPSED", None, None, 0)} <= ends


class Listing(NamedTuple):
    """A row of SEC's list, with the moments of the first list that had it and of the first that had not."""

    ticker: str
    cik: int
    name: str
    since: datetime
    until: datetime


END, NEW_YORK = datetime(9999, 12, 31, tzinfo=UTC), ZoneInfo("America/New_York")
SUCCESSORS, STATED_LEIS = (
    {row[key]: int(row[value]) for row in csv.DictReader((find_project(None) / f"seeds/{name}.csv").read_text().splitlines())}
    for name, key, value in (("issuer_history", "cik", "successor_cik"), ("issuer_lei", "lei", "cik"))
)
STATED_TICKERS = {"GOOGL": ("GOOG.1", date(2014, 4, 3))}


@dataclass(frozen=True)
class Knowledge:
    """What the bytes of the deliveries up to a moment say; recomputed here, not by the marts."""

    story: Story
    moment: datetime

    @property
    def deliveries(self) -> list[tuple[datetime, list[Answer]]]:
        return [pair for pair in zip(self.story.moments, self.story.answers, strict=True) if pair[0] <= self.moment]

    def bodies(self, dataset: str) -> list[tuple[datetime, tuple[str, ...], Any]]:
        found = [(moment, answer) for moment, answers in self.deliveries for answer in answers if answer.dataset == dataset]
        return [(moment, answer.partitions, json.loads(answer.body)) for moment, answer in found]

    def sessions(self, ticker: str) -> list[date]:
        years = {
            partition: [row["date"][:10] for row in body if f"/year={row['date'][:4]}" in partition]
            for _, partitions, body in self.bodies("tiingo_prices")
            for partition in partitions
            if partition.startswith(f"ticker={ticker}/")
        }
        return sorted(date.fromisoformat(day) for days in years.values() for day in days)

    def listings(self) -> list[Listing]:
        found: dict[tuple[str, int, str], Listing] = {}
        for moment, _, body in self.bodies("sec_filers"):
            rows = {(row["ticker"], row["cik_str"], row["title"]) for row in body.values()}
            for key, listing in found.items():
                if key not in rows and listing.until == END:
                    found[key] = listing._replace(until=moment)
            found |= {key: Listing(*key, moment, END) for key in rows if key not in found}
        return sorted(found.values(), key=lambda listing: (listing.since, listing.cik))

    def leis(self, cik: int | None) -> list[str]:
        entities = read_state(len(self.deliveries))[ENTITIES]
        registered = {
            lei: int(record["RegistrationAuthorityEntityID"])
            for (lei, _), record in entities.items()
            if record.get("RegistrationAuthorityID") == "RA000665"
        }
        keys = {lei for (lei, _), record in entities.items() if record["RegistrationStatus"] not in ("DUPLICATE", "ANNULLED")}
        return sorted(lei for lei in keys if cik and STATED_LEIS.get(lei, registered.get(lei)) == cik)

    def figis(self, ticker: str, name: str, valid_from: date) -> list[str] | None:
        """FIGIs of OpenFIGI's rows that first came when the security had its ticker; None without such a row."""
        since: dict[str, datetime] = {}
        for moment, _, (asked, answers) in self.bodies("openfigi_mappings"):
            (answer,) = [answer for question, answer in zip(asked, answers, strict=True) if question["idValue"] == ticker] or [{}]
            rows = {json.dumps(row, sort_keys=True) for row in answer.get("data", [answer] if answer else [])}
            since = {row: since.get(row, moment) for row in rows}
        found = [json.loads(row).get(name) for row, moment in since.items() if moment.astimezone(NEW_YORK).date() >= valid_from]
        return sorted({figi for figi in found if figi}) if found else None

    def isin_leis(self, share_class: str | None) -> list[str] | None:
        """LEIs that GLEIF names for the ISINs with this share class only; None without an answer about one."""
        mappings = self.bodies("openfigi_mappings")
        asked, answers = mappings[-1][2] if mappings else ([], [])
        isins = {
            question["idValue"]
            for question, answer in zip(asked, answers, strict=True)
            if question["idType"] == "ID_ISIN" and share_class and {row["shareClassFIGI"] for row in answer["data"]} == {share_class}
        }
        latest = {partition.removeprefix("isin="): body for _, (partition,), body in self.bodies("gleif_isins")}
        records = [record["attributes"] for isin in isins & latest.keys() for record in latest[isin]["data"]]
        keys = {record["lei"] for record in records if record["registration"]["status"] not in ("DUPLICATE", "ANNULLED")}
        return sorted(keys) if isins & latest.keys() else None

    def security(self, ticker: str) -> dict[str, Any] | None:
        """The row of dim_security and its identifiers; None if we have no price of it."""
        sessions = self.sessions(ticker)
        if not sessions:
            return None
        rows = [row for row in self.listings() if row.ticker == ticker]
        issuers = [row for row in rows if row.until == END or row.until.astimezone(NEW_YORK).date() > sessions[-1]]
        cik = self.successor(issuers[0].cik) if issuers else None
        name = max((row.until, row.since, row.name) for row in rows if self.successor(row.cik) == cik)[2] if cik else None
        security_id, valid_from = STATED_TICKERS.get(ticker, (f"{ticker}.1", sessions[0]))
        figis = {column: self.figis(ticker, vendor, valid_from) for column, vendor in FIGIS.items()}
        classes = figis["share_class_figi"] or []
        of_isins = self.isin_leis(classes[0] if len(classes) == 1 else None)
        leis = sorted({*self.leis(cik), *(of_isins or [])})
        identifiers = {**figis, "lei": leis if leis or of_isins is not None else None}
        only = {key: found[0] if found and len(found) == 1 else None for key, found in identifiers.items()}
        row = (security_id, cik, name, valid_from, date(9999, 12, 31), *only.values())
        return {"row": row, "counts": {key: None if found is None else len(found) for key, found in identifiers.items()}, **only}

    def successor(self, cik: int) -> int:
        return SUCCESSORS.get(str(cik), cik)

    def issuer(self, filer_cik: int) -> tuple[Any, ...] | None:
        """The row of dim_issuer; None if the filer is neither listed nor has it filed."""
        filed = [
            fact["filed"]
            for _, _, body in self.bodies("sec_company_facts")
            if body["cik"] == filer_cik
            for fact in body["facts"]["us-gaap"]["NetIncomeLoss"]["units"]["USD"]
        ]
        current = [row for row in self.listings() if row.until == END]
        if not filed and filer_cik not in {row.cik for row in current}:
            return None
        cik = self.successor(filer_cik)
        names = [row.name for row in sorted(current, key=lambda row: (-row.since.timestamp(), row.ticker)) if row.cik == cik]
        leis = self.leis(cik)
        first = date.fromisoformat(min(filed)) if filed else None
        entity = expect(leis[0], self.moment, self.story.moments) if len(leis) == 1 else None
        known = (leis[0], entity[3], entity[2], entity[8]) if entity else (None,) * 4
        return (cik, names[0] if names else None, first, *known)

    def relationship(self, key: tuple[str, str, str]) -> tuple[Any, ...] | None:
        """Statuses and periods of a relationship; None if it is not known or was removed."""
        record = read_state(len(self.deliveries))[RELATIONSHIPS].get(key)
        if record is None or "DeletedAt" in record:
            return None
        periods = [record["Periods"].get(name, []) for name in ("RELATIONSHIP_PERIOD", "ACCOUNTING_PERIOD")]
        days = [day for (found,) in periods for day in (*found, None)[:2]] if all(periods) else [*periods[0][0], None, None, None][:4]
        return (record["RelationshipStatus"], record["RegistrationStatus"], *days)


FIGIS = {"composite_figi": "compositeFIGI", "share_class_figi": "shareClassFIGI"}
ID_TYPES = (*FIGIS, "lei")
TICKERS = ("AAPL", "MSFT", "AMZN", "IBM", "GOOGL", "PUM", "NONE")
CIKS = (320193, 789019, 1288776, 1652044, 1018724, 51143, 111, 222, 999)
SECURITY_SQL = """
select ticker, security_id, cik, name, valid_from, valid_to, composite_figi, share_class_figi, lei from {0}.dim_security
where valid_to > now()
"""
ISSUER_SQL = "select filer_cik, cik, name, first_filed_date, lei, lei_status, entity_status, successor_lei from {0}.dim_issuer"
RELATIONSHIP_SQL = """
select
    child_lei, parent_lei, relationship_type, known_at, known_to,
    relationship_status, registration_status, period_start, period_end, accounting_start, accounting_end
from {0}.dim_legal_relationship
"""
DIRECT, ULTIMATE = "IS_DIRECTLY_CONSOLIDATED_BY", "IS_ULTIMATELY_CONSOLIDATED_BY"
RELATED = [(ENERGY, parent, DIRECT) for parent in (APPLE, MICROSOFT, PUMA)] + [(CANADA, PUMA, DIRECT), (CANADA, APPLE, ULTIMATE)]
IDENTIFIER_SQL = "select security_id, id_type, match_count, value from {0}.dim_security_identifier where known_at <= {1} and known_to > {1}"


def draw_moments(story: Story, rng: random.Random, count: int) -> list[datetime]:
    """Moments just before, at and after deliveries, where a wrong border shows, and others."""
    steps = [timedelta(microseconds=-1), timedelta(), timedelta(hours=5), timedelta(days=-1), timedelta(days=400)]
    return [rng.choice(story.moments) + rng.choice(steps) for _ in range(count)]


def expect_identifier(known: Knowledge, ticker: str, id_type: str) -> tuple[int, str | None] | None:
    """How many identifiers match and the only one; None without an answer."""
    security = known.security(ticker)
    return None if security is None or security["counts"][id_type] is None else (security["counts"][id_type], security[id_type])


def test_identifiers_at_any_moment_are_those_in_the_bytes_without_look_ahead(story: Story) -> None:
    rng = random.Random(8)  # noqa: S311  the same questions every time
    questions = [(rng.choice(TICKERS), rng.choice(ID_TYPES), moment) for moment in draw_moments(story, rng, QUESTIONS)]
    with story.warehouse.connect() as connection:
        rows = connection.execute("select security_id, id_type, match_count, value, known_at, known_to from marts.dim_security_identifier")
        versions = rows.fetchall()
    answered = set()
    for ticker, id_type, moment in questions:
        key = (STATED_TICKERS.get(ticker, (f"{ticker}.1",))[0], id_type)
        found = [row[2:4] for row in versions if row[:2] == key and row[4] <= moment < row[5]]
        expected = expect_identifier(Knowledge(story, moment), ticker, id_type)
        # the mart has the LEI of the present issuer only, since we had the list that names it
        issuer_changed = (ticker, id_type) == ("PUM", "lei") and moment < story.moments[-1]
        assert found == ([expected] if expected else []) or (issuer_changed and found in ([], [(1, CANADA)])), (ticker, id_type, moment)
        assert not (issuer_changed and found and moment < story.moments[2])
        answered.add((ticker, id_type, *(found[0] if found else ())))
    assert {("AAPL", "lei", 2, None), ("MSFT", "composite_figi", 0, None), ("MSFT", "lei")} <= answered
    assert {("AMZN", "lei"), ("AMZN", "lei", 0, None), ("AMZN", "lei", 2, None), ("AMZN", "lei", 1, AMAZON)} <= answered
    assert {("IBM", "share_class_figi"), ("IBM", "share_class_figi", 1, "BBG001S5S399"), ("IBM", "lei"), ("IBM", "lei", 1, IBM)} <= answered


def test_relationships_at_any_moment_are_those_in_the_bytes_without_look_ahead(story: Story) -> None:
    rng = random.Random(10)  # noqa: S311  the same questions every time
    questions = [(rng.choice(RELATED), moment) for moment in draw_moments(story, rng, QUESTIONS)]
    with story.warehouse.connect() as connection:
        versions = connection.execute(RELATIONSHIP_SQL.format("marts").encode()).fetchall()
    answered = set()
    for key, moment in questions:
        found = [row[5:] for row in versions if row[:3] == key and row[3] <= moment < row[4]]
        expected = Knowledge(story, moment).relationship(key)
        assert found == ([expected] if expected else []), (key, moment)
        answered |= set(found)
    accounts = (date(2020, 12, 31), date(2021, 12, 30))
    assert ("ACTIVE", "LAPSED", date(2018, 4, 2), None, *accounts) in answered
    assert ("INACTIVE", "LAPSED", date(2018, 4, 2), date(2025, 3, 1), *accounts) in answered


def test_the_as_of_views_of_securities_and_issuers_are_those_in_the_bytes_without_look_ahead(story: Story) -> None:
    rng = random.Random(9)  # noqa: S311  the same questions every time
    moments = sorted(rng.choices(sorted(set(draw_moments(story, rng, QUESTIONS))), k=QUESTIONS))
    for moment, asked in groupby(moments):
        known = Knowledge(story, moment)
        with story.warehouse.connect() as connection:
            connection.execute("select set_config('finelt.as_of', %s, false)", [str(moment)])
            securities = {row[0]: row[1:] for row in connection.execute(SECURITY_SQL.format("as_of").encode())}
            issuers = {row[0]: row[1:] for row in connection.execute(ISSUER_SQL.format("as_of").encode())}
            relationships = {row[:3]: row[5:] for row in connection.execute(RELATIONSHIP_SQL.format("as_of").encode()) if row[4] == END}
            identifiers = {row[:2]: row[2:] for row in connection.execute(IDENTIFIER_SQL.format("as_of", "as_of.moment()").encode())}
        for _ in asked:
            ticker, cik, id_type = rng.choice(TICKERS), rng.choice(CIKS), rng.choice(ID_TYPES)
            security = known.security(ticker)
            assert securities.get(ticker) == (security["row"] if security else None), (ticker, moment)
            assert issuers.get(cik) == known.issuer(cik), (cik, moment)
            related = rng.choice(RELATED)
            assert relationships.get(related) == known.relationship(related), (related, moment)
            security_id = STATED_TICKERS.get(ticker, (f"{ticker}.1",))[0]
            assert identifiers.get((security_id, id_type)) == expect_identifier(known, ticker, id_type), (ticker, id_type, moment)


def test_neighbours_with_the_same_figures_are_one_version(story: Story) -> None:
    sql = "select country, known_at, known_to from marts.dim_legal_entity where lei = %s order by known_at"
    with story.warehouse.connect() as connection:
        rows = connection.execute(sql, [APPLE]).fetchall()
    end = datetime(9999, 12, 31, tzinfo=UTC)
    _, second, _, last = story.moments
    assert rows == [("IE", second, last), ("US", last, end)]


@pytest.mark.parametrize("number", BUILT)
def test_the_as_of_views_are_the_marts_of_that_moment(story: Story, number: int) -> None:
    """The last build was incremental, and the views compute all rows, so it equals a full build too."""
    found = read_marts(story.warehouse, "as_of", story.moments[number] + timedelta(hours=1))
    assert found == story.marts[number]


@pytest.mark.parametrize("number", range(4))
def test_the_as_of_view_has_the_entities_in_the_bytes_of_that_moment(story: Story, number: int) -> None:
    leis = sorted({row["lei"] for row in gleif.select("lei2", D4, "")})
    moment = story.moments[number]
    with story.warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [str(moment)])
        found = connection.execute(ENTITY_SQL.replace("marts.", "as_of."), [leis, [moment] * len(leis)]).fetchall()
    assert found == [expect(lei, moment, story.moments) or NO_ENTITY for lei in leis]


def test_identifiers_link_a_security_only_if_they_are_unambiguous(story: Story) -> None:
    sql = """
    select value, match_count, candidates, known_at, known_to from marts.dim_security_identifier
    where security_id = %s and id_type = %s order by known_at
    """
    end = datetime(9999, 12, 31, tzinfo=UTC)
    first, _, third, last = story.moments
    with story.warehouse.connect() as connection:
        assert connection.execute(sql, ["AAPL.1", "share_class_figi"]).fetchall() == [
            ("BBG001S5N8V8", 1, None, first, third),
            (None, 2, "BBG001S5N8V8, BBG001S5S399", third, last),
            ("BBG001S5N8V8", 1, None, last, end),
        ]
        assert connection.execute(sql, ["AAPL.1", "composite_figi"]).fetchall() == [("BBG000B9XRY4", 1, None, first, end)]
        assert connection.execute(sql, ["MSFT.1", "share_class_figi"]).fetchall() == [(None, 0, None, first, end)]
        assert connection.execute(sql, ["MSFT.1", "lei"]).fetchall() == []  # no Microsoft in the sample before 2025-03-28
        linked = """
            select ticker, composite_figi, share_class_figi, security.lei, issuer.lei
            from marts.dim_security as security join marts.dim_issuer as issuer using (cik)
            where ticker in ('AAPL', 'MSFT') order by ticker
        """
        assert connection.execute(linked.encode()).fetchall() == [
            ("AAPL", "BBG000B9XRY4", "BBG001S5N8V8", APPLE, APPLE),
            ("MSFT", None, None, None, None),
        ]


def test_an_isin_leads_to_the_lei_of_the_security_with_the_same_share_class(story: Story) -> None:
    sql = """
    select security_id, value, match_count, candidates, known_at, known_to from marts.dim_security_identifier
    where id_type = 'lei' and security_id in ('AAPL.1', 'AMZN.1', 'IBM.1', 'MSFT.1') order by security_id, known_at
    """
    first, second, third, last = story.moments
    with story.warehouse.connect() as connection:
        assert connection.execute(sql).fetchall() == [
            ("AAPL.1", None, 2, f"{ENERGY}, {APPLE}", first, second),  # the ISIN has two LEIs
            ("AAPL.1", None, 3, f"{FUND}, {ENERGY}, {APPLE}", second, third),  # the issuer has, too
            ("AAPL.1", APPLE, 1, None, third, END),  # first the ticker has two share classes, then all agree
            ("AMZN.1", None, 0, None, second, third),  # GLEIF knows no LEI; before, we had no price
            ("AMZN.1", None, 2, f"{PUMA}, {AMAZON}", third, last),  # the issuer is another than that of an ISIN
            ("AMZN.1", AMAZON, 1, None, last, END),
            ("IBM.1", IBM, 1, None, last, END),  # before, no price tied the answer about the ticker to the security
        ]  # none of Microsoft: the share class of its ISIN is that of no security


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, {"AAPL": None}), (1, {"AAPL": None, "AMZN": None}), (2, {"AAPL": APPLE, "AMZN": None}), (3, {"AMZN": AMAZON, "IBM": IBM})],
)
def test_the_lei_of_a_security_is_that_of_the_moment(story: Story, number: int, expected: dict[str, str | None]) -> None:
    with story.warehouse.connect() as connection:
        for moment, known in ((story.moments[number], expected), (story.moments[0] - timedelta(microseconds=1), {})):
            connection.execute("select set_config('finelt.as_of', %s, false)", [str(moment)])
            found = dict(
                connection.execute("select ticker, lei from as_of.dim_security where ticker in ('AAPL', 'AMZN', 'IBM')").fetchall()
            )
            assert {ticker: found[ticker] for ticker in known} == known
            assert known or not found


def test_the_as_of_views_have_the_prices_that_no_build_has_seen(story: Story) -> None:
    """They take years of a ticker from the last build only if it has all loads; no reader needs a right on it. Last, as it adds a load."""
    sessions = "select first_session::text, last_session::text from as_of_internal.int_securities where ticker = %s"
    later = Lake(str(story.lake), story.moments[-1] + timedelta(days=1))
    for answer in (prices("AMZN", ["2025-03-03", "2025-03-07"]), prices("NEW", ["2025-03-07"])):
        recorded_lake.commit(later, answer)
    load(recorded_lake.lake_path(later), story.warehouse)
    for moment, amazon, new in (
        (story.moments[-1], [("2025-03-03", "2025-03-03")], []),
        (story.moments[-1] + timedelta(days=1), [("2025-03-03", "2025-03-07")], [("2025-03-07", "2025-03-07")]),
    ):
        with story.warehouse.connect() as connection:
            connection.execute("select set_config('finelt.as_of', %s, false)", [str(moment)])
            assert connection.execute(sessions, ["AMZN"]).fetchall() == amazon
            assert connection.execute(sessions, ["NEW"]).fetchall() == new
    with story.warehouse.connect() as connection:
        connection.execute("create role identity_reader; grant usage on schema as_of to identity_reader")
        connection.execute("grant select on as_of.dim_security to identity_reader; set role identity_reader")
        assert connection.execute("select count(*) from as_of.dim_security where ticker in ('AMZN', 'NEW')").fetchall() == [(2,)]
        connection.execute("reset role; drop owned by identity_reader; drop role identity_reader")
