"""Hostile values pass through contract, lake, warehouse and marts: each row is kept and can be read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader
from jobkit import contracts
from jobkit.contracts import Contract, Field, unescape_text
from jobkit.lake import CommitDraft, Lake

from jobs.catalogue import JOBS
from tests import recorded_lake
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

DBT_MACROS = Environment(loader=FileSystemLoader(JOBS.parent / "dbt" / "macros"), autoescape=False)  # noqa: S701  SQL, not HTML
SANITISE_JSON = DBT_MACROS.get_template("json_text.sql").module.sanitise_json  # type: ignore[attr-defined]  a macro
VALID_DATE_TEXT = DBT_MACROS.get_template("dates.sql").module.valid_date_text  # type: ignore[attr-defined]
KINDS = ("date", "timestamp", "int", "long", "double", "boolean", "decimal(8,2)", "decimal(38,10)", "string")
BAR = {"v": 1000, "o": 10.0, "c": 10.2, "h": 10.5, "l": 9.9}


def commit(lake: Lake, rules: Contract, partition: str, columns: dict[str, list[Any]]) -> contracts.ValidationResult:
    """Enforce a contract and commit what it gives."""
    good = contracts.validate(rules, columns)
    bad = good.quarantine
    draft = CommitDraft(
        contracts.to_parquet(good.table),
        good.table.num_rows,
        contracts.to_parquet(bad) if bad else None,
        bad.num_rows if bad else 0,
        lambda: (),
        rules.key,
        rules.leaf,
        {"job": "test", "version": "0"},
        good.dropped,
    )
    lake.commit(rules.dataset, partition, draft)
    return good


number = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: format(value, "f")[:60]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**63), 2**63 - 1).map(str),
)
value = st.one_of(
    number,
    st.dates().map(str),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.text(max_size=40),
    st.sampled_from(["true", "false", "a\0b", "\ud83d", "\\u0000", '{"a": "\\ud83d"}', "x" * 100_000, "-0", "1e400", "5e-324"]),
)


def test_good_and_quarantined_values_return_from_the_warehouse_unchanged(tmp_path: Path, warehouse: Warehouse) -> None:
    lake, number_of_commits = Lake(str(tmp_path)), iter(range(1000))
    fields = (Field("k", "int", required=True), *(Field(f"x{index}", kind) for index, kind in enumerate(KINDS)))
    rules = Contract("hostile_values", "", fields, ("k",), "hash(k, 1)", "", "freeze", "string", max_bad_rows=1.0)

    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from(range(len(KINDS))), value), min_size=30, max_size=150))
    def property_(cells: list[tuple[int, str]]) -> None:
        part = f"number={next(number_of_commits)}"
        columns: dict[str, list[Any]] = {"k": [str(row) for row in range(len(cells))]}
        columns |= {f"x{index}": [text if at == index else None for at, text in cells] for index in range(len(KINDS))}
        good = commit(lake, rules, part, {**columns})
        load(tmp_path, warehouse, partitions=[part])
        in_part = f"_load_id = (select max(load_id) from raw._ledger where \"partition\" = '{part}')"
        with warehouse.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            names = good.table.column_names
            query = f"select {', '.join(names)} from raw.hostile_values where {in_part} order by _row_number"
            stored = connection.execute(query.encode()).fetchall()
        assert stored == list(zip(*(good.table.column(name).to_pylist() for name in names), strict=True))
        bad = warehouse.rows(f"select row_number, {SANITISE_JSON('raw_row')}::jsonb from raw._quarantine where {in_part} order by 1")  # type: ignore[attr-defined]
        assert len(bad) + len(stored) == len(cells)
        for row, raw in bad:
            at, text = cells[row - 1]
            assert unescape_text(raw[f"x{at}"]) == text

    property_()


escapes = st.text(st.sampled_from(["\\", "u", "0", "d", "8", "D", "a", "\0", '"', "é"]), max_size=24)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(escapes, escapes)
def test_quarantined_rows_of_an_older_version_can_be_read(warehouse: Warehouse, name: str, sent: str) -> None:
    """The older version wrote NUL as a JSON escape, which the type json accepts and no operator reads."""
    earlier = json.dumps({name: sent, "date": "2013-06-03"}, ensure_ascii=False)
    with warehouse.connect() as connection:
        (read,) = connection.execute(
            f"select {SANITISE_JSON('row')}::jsonb from (select %s::json as row) as old".encode(), [earlier]
        ).fetchone()  # type: ignore[attr-defined, misc]
    assert read == {key.replace("\0", "\\u0000"): text.replace("\0", "\\u0000") for key, text in json.loads(earlier).items()}


def test_a_lone_surrogate_in_a_stored_row_can_be_read(warehouse: Warehouse) -> None:
    stored = r'{"a": "\ud83d \\ud83d \\\ud83d \u0000\u0000 \u00e9"}'
    (read,) = warehouse.rows(f"select {SANITISE_JSON('row')}::jsonb ->> 'a' from (select '{stored}'::json as row) as old")[0]  # type: ignore[attr-defined]
    assert read == r"\ud83d \ud83d \\ud83d \u0000\u0000 é"


@pytest.mark.parametrize("text", ["2013-02-30", "0000-01-01", "2013-19-39", "\u0662013-01-01", "2013-06-03 ", "'; select 1", ""])
def test_an_invalid_day_is_null(warehouse: Warehouse, text: str) -> None:
    with warehouse.connect() as connection:
        query = f"select {VALID_DATE_TEXT('day')} from (values (%s::text), ('2013-06-03')) as found (day) order by 1 nulls first".encode()  # type: ignore[attr-defined]
        assert connection.execute(query, [text]).fetchall() == [(None,), ("2013-06-03",)]


def prices(feed: str, **changed: float) -> recorded_lake.Answer:
    """Prices of one ticker with text fields that the contract does not have."""
    row = {"close": 10.0, "high": 11.0, "low": 9.0, "open": 10.0, "volume": 100, "adjClose": 10.0, "adjHigh": 11.0, "adjLow": 9.0}
    row |= {"adjOpen": 10.0, "adjVolume": 100, "divCash": 0.0, "splitFactor": 1.0, **changed}
    return recorded_lake.tiingo("ZZQ", [{"date": "2013-06-03T00:00:00.000Z", **row, "feed": feed, "cusip": feed.replace(".", "0")}])


def day(session: str, *more: str, vw: tuple[float, ...] = ()) -> recorded_lake.Answer:
    """A session of 199 tickers and `more`; `vw` are the volume-weighted prices of the first."""
    opened = int(datetime.fromisoformat(f"{session}T20:00:00Z").timestamp() * 1000)
    weights = [*vw, *[1e-7] * 300]
    tickers = [*(f"T{index:03}" for index in range(199)), *more]
    return recorded_lake.massive(
        session, [{"T": name, **BAR, "t": opened, "vw": price} for name, price in zip(tickers, weights, strict=False)]
    )


STORED = r"""
insert into raw._quarantine
select 'massive_daily_prices', 'date=2013-05-31', 1, number, '{"date": "2013-02-30", "T": "\u0000A\\u0000"}',
       repeat('r', 5000), 1, '2013-06-01',
       case when number = 1 then 'infinity'::timestamptz else '2013-07-01' end
from generate_series(1, 2) as number
"""


def test_hostile_rows_and_texts_do_not_stop_the_marts(tmp_path: Path, warehouse: Warehouse) -> None:
    """NUL, a key of a megabyte, a changing text of dots and digits, tiny and huge doubles, rows stored by an older version."""
    lake = Lake(str(tmp_path))
    for answer in (day("2013-06-03", "\0HOST"), day("2013-06-04", "H" * 1_000_000), day("2013-06-05"), prices("27.11.2012")):
        recorded_lake.commit(lake, answer)
    load(tmp_path, warehouse)
    for answer in (prices("28.11.2012", close=10.5), day("2013-06-05", vw=(3e-7, 1e300, 1.0000000000001e-7))):
        recorded_lake.commit(lake, answer)
    load(tmp_path, warehouse)
    warehouse.run(STORED)
    recorded_lake.transform(warehouse)
    query = "select lake_partition, row_date, left(raw_row, 70), length(raw_row), length(reasons) from marts.fct_quarantine order by 1"
    old, nul, long = warehouse.rows(query)
    assert old[:3] == ("date=2013-05-31", None, r'{"date": "2013-02-30", "T": "\\u0000A\\u0000"}')
    assert old[4] < 2100
    assert nul[:2] == ("date=2013-06-03", "2013-06-03")
    assert long[:2] == ("date=2013-06-04", "2013-06-04")
    assert 10_000 < long[3] < 10_100
    changed = "select subject, item, value_before::text, value_after::text from marts.fct_restatement order by 1, 2"
    assert warehouse.rows(changed) == [
        ("T000 2013-06-05", "vw", "0.00000010", "0.00000030"),
        ("ZZQ 2013-06-03", "close", "10.00000000", "10.50000000"),
    ]
    with warehouse.connect() as connection:
        connection.execute("set finelt.as_of = '2013-06-15 00:00Z'")
        assert connection.execute("select count(*) from as_of.fct_quarantine").fetchone() == (2,)
