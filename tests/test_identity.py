"""Legal entities and identifiers of securities as of any moment, against a reading of the vendors' bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.small_project import copy_small_project
from tests.warehouse.samples import load
from verification.sample_vendors import gleif, openfigi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

QUESTIONS = 500
BUILT = (0, 3)  # deliveries after which the marts are built
MARTS = ("dim_legal_entity", "dim_security_identifier", "dim_security", "dim_issuer")
ENTITIES, RELATIONSHIPS, EXCEPTIONS = "gleif_entities", "gleif_relationships", "gleif_exceptions"
NAMES = {ENTITIES: "lei2", RELATIONSHIPS: "rr", EXCEPTIONS: "repex"}
APPLE, ENERGY, MICROSOFT, PUMA = "HWUPKR0MPOU8FGXBT394", "549300YX4S1LLSMK2627", "INR2EJN1ERAN0W5ZP974", "529900GRZ2BQY5ZM9N49"
COMMERZBANK, AMAZON, CANADA = "851WYGNLUQLFZBSYGB56", "ZXTILKJKG63JELOEG630", "5299003P2JQIMN2SR117"
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


ASKED = [{"idType": "TICKER", "idValue": ticker, "exchCode": "US"} for ticker in ("AAPL", "MSFT", "BRK/B")]
NOTHING: dict[str, Any] = {"warning": "No identifier found."}
D1, D2, D3, D4 = (f"2025-03-{day:02}T00:00:00Z" for day in (4, 5, 6, 20))
DELETED = {"deleted_at": "2025-03-05T18:50:35Z"}
IRISH_APPLE = sample_row(ENTITIES, APPLE, country="IE")
EXCEPTION = sample_row(EXCEPTIONS, COMMERZBANK, **DELETED)
DELIVERIES: list[list[File]] = [
    [
        full(ENTITIES, D1),
        full(RELATIONSHIPS, D1, more=[sample_row(RELATIONSHIPS, ENERGY, parent=MICROSOFT, status="INACTIVE")]),
        full(EXCEPTIONS, D1),
    ],
    [  # of two records of Apple in one delta the last is right; Energy gets a second parent; a file did not arrive as a whole
        File(ENTITIES, D2, "LastDay", [[sample_row(ENTITIES, APPLE, legal_name="APPLE COMPUTER")], [IRISH_APPLE]], D1),
        File(RELATIONSHIPS, D2, "LastDay", [[sample_row(RELATIONSHIPS, ENERGY, parent=PUMA)]], D1),
        File(EXCEPTIONS, D2, "LastDay", [[EXCEPTION]], D1, is_whole=False),
    ],
    [  # a longer delta repeats the shorter one and goes on; a relationship and an exception are removed
        File(ENTITIES, D3, "LastWeek", [[IRISH_APPLE, sample_row(ENTITIES, PUMA, registration_status="LAPSED")]], D1),
        File(
            RELATIONSHIPS,
            D3,
            "LastDay",
            [[sample_row(RELATIONSHIPS, ENERGY, **DELETED), sample_row(RELATIONSHIPS, CANADA, status="INACTIVE")]],
            D2,
        ),
        File(EXCEPTIONS, D3, "LastDay", [[EXCEPTION]], D2),
    ],
    [full(ENTITIES, D4, without=(AMAZON,)), full(RELATIONSHIPS, D4, without=(CANADA,)), full(EXCEPTIONS, D4)],
]
MAPPINGS: list[list[dict[str, Any]]] = [
    [{"data": [apple_line()]}, NOTHING, NOTHING],
    [{"data": [apple_line(), apple_line(figi="BBG000B9Y5X2", exchCode="UW")]}, NOTHING, NOTHING],
    [{"data": [apple_line(), apple_line(figi="BBG000BLNNH6", shareClassFIGI="BBG001S5S399")]}, NOTHING, NOTHING],
    [{"data": [apple_line(name="APPLE INC.")]}, NOTHING, NOTHING],
]


@dataclass(frozen=True)
class Story:
    """A warehouse after four deliveries, the moment at which each was whole, and the marts after those of BUILT."""

    warehouse: Warehouse
    moments: list[datetime]
    marts: dict[int, dict[str, list[str]]]


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("identity")
    project = copy_small_project(folder / "dbt", *MARTS)
    moments, marts = list[datetime](), dict[int, dict[str, list[str]]]()
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database identity")
        url = postgres_server.url.replace("/warehouse", "/identity")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        for number, (files, answers) in enumerate(zip(DELIVERIES, MAPPINGS, strict=True)):
            lake = Lake(str(folder / "lake"), BEGIN + timedelta(days=number))
            found = [answer for file in files for answer in file.answers()] + [recorded_lake.openfigi(ASKED, answers)]
            for answer in [*found, *(other_vendors() if not number else [])]:
                recorded_lake.commit(lake, answer)
            moments.append(BEGIN + timedelta(days=number))
            if number in BUILT:
                load(recorded_lake.lake_path(lake), warehouse)
                receipt = recorded_lake.transform(warehouse, "--project", str(project))
                assert receipt["details"]["changes_only"] is (number > 0)
                marts[number] = read_marts(warehouse)
        yield Story(warehouse, moments, marts)
        admin.execute("drop database identity with (force)")


def other_vendors() -> list[Answer]:
    """Prices and filers of two securities."""
    price = {"date": "2025-03-03T00:00:00.000Z", "divCash": 0.0, "splitFactor": 1.0, "volume": 1, "adjVolume": 1}
    prices = {**price, **{name: 10.0 for word in ("open", "high", "low", "close") for name in (word, f"adj{word.capitalize()}")}}
    filers = '{"0":{"cik_str":320193,"ticker":"AAPL","title":"Apple Inc."},"1":{"cik_str":789019,"ticker":"MSFT","title":"MICROSOFT CORP"}}'
    return [*(recorded_lake.tiingo(ticker, [prices]) for ticker in ("AAPL", "MSFT")), recorded_lake.filers(filers.encode())]


def read_marts(warehouse: Warehouse, schema: str = "marts", as_of: datetime | None = None) -> dict[str, list[str]]:
    """The rows of the marts as JSON, in order."""
    with warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [str(as_of or "")])
        return {
            name: sorted(row for (row,) in connection.execute(f"select to_jsonb(mart)::text from {schema}.{name} as mart".encode()))
            for name in MARTS
        }


@cache
def read_state(deliveries: int) -> dict[str, dict[Any, dict[str, str]]]:
    """The records of each key after some deliveries, from the bytes of the files that were whole by then."""
    state: dict[str, dict[Any, dict[str, str]]] = {name: {} for name in NAMES}
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
                    state[file.dataset][key] = {**texts, "Country": next(iter(countries), "")}  # type: ignore[dict-item]
    return state


def expect(lei: str, moment: datetime, moments: Sequence[datetime]) -> tuple[Any, ...] | None:
    """Name, country, statuses, direct parent, how many there are, and why there is none; None for an entity that is not known."""
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
    return (*figures, parents[0] if len(parents) == 1 else None, len(parents), reason)


ENTITY_SQL = """
select
    mart.legal_name, mart.country, mart.entity_status, mart.registration_status,
    mart.direct_parent_lei, mart.direct_parent_count, mart.direct_parent_exception
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
    expected = [expect(lei, moment, story.moments) or (None,) * 7 for lei, moment in questions]
    assert found == expected
    energy = {row[4:6] for (lei, _), row in zip(questions, found, strict=True) if lei == ENERGY}
    assert energy == {(None, None), (APPLE, 1), (None, 2), (PUMA, 1)}  # unknown, one parent, ambiguous, one was removed


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
    assert found == [expect(lei, moment, story.moments) or (None,) * 7 for lei in leis]


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
        linked = "select ticker, composite_figi, share_class_figi, security.lei, issuer.lei from marts.dim_security as security"
        assert connection.execute(f"{linked} join marts.dim_issuer as issuer using (cik) order by ticker".encode()).fetchall() == [
            ("AAPL", "BBG000B9XRY4", "BBG001S5N8V8", APPLE, APPLE),
            ("MSFT", None, None, None, None),
        ]
