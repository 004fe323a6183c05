"""Lines of taps, and the streams that they make. Each line that is no Singer message is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from extract_singer_streams import messages
from extract_singer_streams.messages import ActivateVersion, Record, Schema, State
from extract_singer_streams.runner import Resume, apply
from extract_singer_streams.stream import Stream
from jobkit import contracts
from jobkit.errors import BadDataError, MisconfiguredError

from .connections import CONTRACT, delete, record, schema

FEEDS = Path(__file__).parents[4] / "shared" / "feeds" / "singer"
RULES = contracts.read_contract(CONTRACT.format(dataset="acme_orders"))


def read(*lines: str) -> Stream:
    stream = Stream("orders", RULES)
    apply([stream], [messages.parse(line.encode(), number) for number, line in enumerate(lines, 1)], Resume(None, {}))
    return stream


def test_messages_are_read_and_numbers_keep_their_digits() -> None:
    assert messages.parse(schema("a b").encode(), 1) == Schema("orders", ("Order Id", "price", "a b"), ("Order Id",))
    assert messages.parse(b'{"type":"RECORD","stream":"s","record":{"p": 0.10},"version":3,"time_extracted":"x"}', 1) == Record(
        "s", b'{"p": 0.10}', 3
    )
    assert messages.parse(b'{"type": "STATE", "value": {"a": [1.10]}}', 1) == State('{"a": [1.10]}')
    assert messages.parse(b'{"type": "ACTIVATE_VERSION", "stream": "s", "version": 7}', 1) == ActivateVersion("s", 7)


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("INFO started", BadDataError, "line 4 of the tap's output is not a JSON object.*report it to the tap's maintainers"),
        ('{"type": "RECORD", "type": "STATE"}', BadDataError, "the key type twice"),
        ('{"stream": "s"}', BadDataError, "has no type"),
        ('{"type": "BATCH", "stream": "s"}', MisconfiguredError, "BATCH.*remove batch_config"),
        ('{"type": "METRIC"}', BadDataError, "type 'METRIC'; expected SCHEMA"),
        ('{"type": "SCHEMA", "stream": "s", "schema": {"type": "object"}, "key_properties": []}', BadDataError, "has no properties"),
        ('{"type": "RECORD", "stream": "s", "record": [1]}', BadDataError, "another record"),
        ('{"type": "STATE"}', BadDataError, "has no value"),
    ],
)
def test_other_lines_are_refused(line: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        messages.parse(line.encode(), 4)


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "SCHEMA", "stream": "s", "schema": {"type": "object"}, "key_properties": []}',
        '{"type": "BATCH", "stream": "s"}',
        '{"type": "RECORD", "stream": "s", "record": [1]}',
        '{"type": "ACTIVATE_VERSION", "stream": "s", "version": "x"}',
    ],
)
def test_what_is_in_a_message_of_a_stream_that_is_not_stored_does_not_matter(line: str) -> None:
    assert messages.parse(line.encode(), 4, {"orders"}) == messages.Unwanted("s")


def test_a_record_before_its_schema_and_another_key_are_refused() -> None:
    with pytest.raises(BadDataError, match="RECORD of 'orders' before its SCHEMA"):
        read(record(1), schema())
    with pytest.raises(BadDataError, match="key of 'orders' is price, that of its contract is Order Id"):
        read(schema(), schema(key=("price",)))


def test_columns_have_the_names_of_the_contract_and_case_tells_names_apart() -> None:
    stream = read(schema("note", "Note"), record(1, note="a", Note="b", _sdc_sequence=1))
    assert stream.build_columns() == {"id": [1], "price": ["1.5"], "note": ["a"], "Note": ["b"]}
    with pytest.raises(BadDataError, match="column 'id', and its contract gives this name to another"):
        read(schema(), record(1, id=5)).build_columns()


def test_a_schema_that_lacks_a_required_column_is_refused() -> None:
    line = json.dumps({"type": "SCHEMA", "stream": "orders", "schema": {"properties": {"Order Id": {}}}, "key_properties": ["Order Id"]})
    with pytest.raises(BadDataError, match="no longer sends price"):
        contracts.validate(RULES, read(line, record(1, "")).build_columns())


def test_a_record_without_its_key_is_quarantined_once() -> None:
    stream = read(schema(), record(None), record(None), record(1), delete(1), record(2))
    result = contracts.validate(RULES, stream.build_columns())
    assert (result.read, result.quarantine and result.quarantine.num_rows) == (2, 1)


def test_a_snapshot_is_read_as_it_was_written() -> None:
    stream = read(schema(), record(1, "1.10"), record(2), record(1, "1.20"))
    again = Stream("orders", RULES)
    again.read_snapshot(stream.format_snapshot())
    assert (again.rows, list(again.rows)) == (stream.rows, [(1,), (2,)])


@pytest.mark.parametrize(
    ("kind", "values", "others"),
    [
        ("timestamp", ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00+00:00", "2024-01-01T01:00:00.000+01:00"), ("2024-01-01T00:00:01Z",)),
        ('"decimal(18,6)"', (1, "1.0", "1.00"), ("1.000001",)),
        ("long", (7, "7", "7.0"), ("x", "7.5", 8)),
        ("double", (1, "1.0", "1e0"), ("1.5",)),
        ("string", ("1",), ("1.0", "01")),
    ],
)
def test_keys_are_compared_as_values(kind: str, values: tuple[object, ...], others: tuple[object, ...]) -> None:
    rules = contracts.read_contract(CONTRACT.format(dataset="acme_orders").replace("physicalType: long", f"physicalType: {kind}"))
    stream = Stream("orders", rules)

    def send(value: object, **more: str) -> None:
        line = record(None, **{"Order Id": value, **more})
        apply([stream], [messages.parse(text.encode(), 1) for text in (schema(), line)], Resume(None, {}))

    for number, value in enumerate((*values, *others)):
        send(value, note=str(number))
    assert [json.loads(body)["note"] for body in stream.rows.values()] == [
        str(number) for number in range(len(values) - 1, len(values) + len(others))
    ]
    send(values[0], _sdc_deleted_at="2026-11-20T00:00:00Z")
    assert len(stream.rows) == len(others)


@pytest.mark.skipif(not FEEDS.exists(), reason="needs recorded streams of real taps next to the checkout")
def test_recorded_streams_of_real_taps_are_read() -> None:
    """All but those that their collectors made wrong on purpose: PipelineWise's invalid JSON, and the SDK's schema without columns."""
    refused = {}
    for path in sorted(FEEDS.iterdir()):
        try:
            found = [messages.parse(line, number) for number, line in enumerate(path.read_bytes().splitlines(), 1) if line.strip()]
            assert found, path
        except BadDataError as error:
            refused[path.name] = str(error)
    assert sorted(refused) == ["ppw_invalid-json.jsonl", "sdk_invalid_schema.singer"]


@pytest.mark.skipif(not FEEDS.exists(), reason="needs recorded streams of real taps next to the checkout")
def test_the_deletes_of_a_recorded_log_leave_the_other_rows() -> None:
    """PipelineWise's stream of PostgreSQL's log: 20 rows of a table, of which 12 are deleted by a key and a time."""
    text = CONTRACT.format(dataset="acme_orders").replace("Order Id", "cid").replace("name: price", "name: cvarchar")
    text = text.replace('"decimal(18,6)"', "string").replace(", logicalTypeOptions: {minimum: 0}", "")
    stream = Stream("logical1-logical1_table2", contracts.read_contract(text))
    lines = (FEEDS / "ppw_messages-pg-logical-streams.jsonl").read_bytes().splitlines()
    resume = apply([stream], [messages.parse(line, number) for number, line in enumerate(lines, 1)], Resume(None, {}))
    result = contracts.validate(stream.contract, stream.build_columns())
    assert (result.table.column("id").to_pylist(), result.quarantine) == ([1, 2, 3, 5, 7, 8, 9, 10], None)
    assert set(result.table.column("cvarchar").to_pylist()) == {"updated row"}
    assert (len(stream.deleted), resume.versions) == (12, {"logical1-logical1_table2": 1570922723635})
    assert json.loads(resume.state or "")["currently_syncing"] is None
