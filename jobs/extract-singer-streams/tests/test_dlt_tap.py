"""A dlt source becomes a Singer stream, with the dlt of another environment. FINELT_DLT_PYTHON is a Python with dlt, for the last test."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from extract_singer_streams import dlt_tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .connections import Place

SOURCE = """\
import json
import os
from decimal import Decimal
import dlt

@dlt.resource(primary_key="Order Id", write_disposition="merge")
def orders(cursor=dlt.sources.incremental("n"), token=dlt.secrets.value):
    print("from", cursor.last_value, "with", token)
    rows = [{"Order Id": number, "n": number, "price": Decimal("1.10")} for number in range(1, 2 + (cursor.last_value or 1))]
    yield [row for row in rows if row["n"] >= (cursor.last_value or 0)]
"""


@dataclass
class Resource:
    """The part of a resource of dlt that the tap uses."""

    items: list[Any]
    name: str = "orders"
    write_disposition: str = "merge"
    columns: dict[str, dict[str, Any]] = field(default_factory=lambda: {"id": {"primary_key": True}})

    def compute_table_schema(self) -> dict[str, Any]:
        return {"columns": self.columns}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


class ArrowTable:
    def to_pylist(self) -> list[dict[str, Any]]:
        return [{"id": 2}, {"id": 3}]


def send(resource: Resource) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    dlt_tap.send_records(resource, lambda kind, **fields: sent.append({"type": kind, **fields}))
    return sent


def test_records_come_after_a_schema_with_their_columns_and_key() -> None:
    schema, *records = send(Resource([{"id": 1, "price": 2}, ArrowTable()]))
    assert (schema["key_properties"], list(schema["schema"]["properties"])) == (["id"], ["id", "price"])
    assert [one["record"]["id"] for one in records] == [1, 2, 3]
    assert send(Resource([])) == []


def test_a_resource_that_replaces_its_table_activates_a_version_at_its_end() -> None:
    _, first, last = send(Resource([{"id": 1}], write_disposition="replace"))
    assert (last["type"], last["version"]) == ("ACTIVATE_VERSION", first["version"])


def test_digits_of_a_decimal_are_kept() -> None:
    assert json.dumps(Decimal("12345678901.123456"), default=dlt_tap.to_json) == '"12345678901.123456"'


@pytest.mark.skipif("FINELT_DLT_PYTHON" not in os.environ, reason="set FINELT_DLT_PYTHON to a Python that has dlt")
def test_dlts_own_cursor_goes_on_from_the_commit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "acme_source.py").write_text(SOURCE)
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("TAP_SECRETS", '{"sources.acme_source.orders.token": "dlt-token-4d1f"}')
    place.secrets = "env://TAP_SECRETS"
    tap = f"{os.environ['FINELT_DLT_PYTHON']} dlt_tap.py acme_source:orders"
    for rows in (2, 3, 4):
        assert place.run(tap=tap) == [("acme_orders", "committed")]
        assert sorted(place.rows()) == list(range(1, rows + 1))
