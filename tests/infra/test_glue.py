"""The role of the job that registers Iceberg tables allows exactly what the job calls in Glue."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.client import BaseClient
from jobkit.errors import AuthError
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import open_store
from moto.server import ThreadedMotoServer
from pyiceberg.catalog import load_catalog
from register_iceberg_tables import runner

from infra.job_permissions import GLUE_ACTIONS
from tests.infra.graph_reader import role_policy
from tests.warehouse.samples import Recorder, parquet, price

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.testing.mock_engine import Graph

LAKE, NAMESPACE = "s3://bucket/lake", "finelt_dev_raw"
SITE, SITE_NAMESPACE = "s3://bucket/site", "finelt_dev_published"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The calls of Glue, in an emulated account with a bucket."""
    calls: list[str] = []
    call_api = BaseClient._make_api_call

    def record(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "glue":
            calls.append(f"glue:{operation}")
        return call_api(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    try:
        yield calls
    finally:
        server.stop()


def publish() -> None:
    """Write a site with one mart."""
    site, file = open_store(SITE), {"path": "marts/fct_price.parquet", "bytes": 0, "sha256": "0"}
    site.put("v/a/marts/fct_price.parquet", parquet([price("2012-01-03")]))
    for key, document in {
        "v/a/published.json": {"published_at": "2026-01-31T12:00:00+00:00"},
        "v/a/catalogue.json": {"previous": None, "marts": {"fct_price": {"rows": 1, "files": {"parquet": file}}}},
        "latest.json": {"version": "a", "format": 2},
    }.items():
        site.put(key, json.dumps(document).encode())


def test_the_tables_are_in_glue_and_the_role_allows_what_is_called(account: list[str], dev: Graph) -> None:
    for close in ("1.5", "2.5"):
        draft = CommitDraft(parquet([price("2012-01-03", close)]), 1, None, 0, lambda: (), ("ticker",), "hash(ticker, 4)", {"job": "test"})
        Lake(LAKE).commit("prices", "ticker=AAPL", draft)
        runner.run(Recorder(), LAKE, (), "glue", NAMESPACE)  # type: ignore[arg-type]
    publish()
    runner.run(Recorder(), LAKE, (), "glue", NAMESPACE, SITE, SITE_NAMESPACE)  # type: ignore[arg-type]
    runner.check(LAKE, "glue", NAMESPACE, SITE)
    Lake(LAKE).store.erase("iceberg/", lambda _: True)  # as `finelt erase` does: the tables are dropped and made again
    runner.run(Recorder(), LAKE, (), "glue", NAMESPACE, SITE, SITE_NAMESPACE)  # type: ignore[arg-type]
    assert set(account) == set(GLUE_ACTIONS)
    catalog = load_catalog("any", type="glue", **{"client.region": "us-east-1", "s3.endpoint": os.environ["AWS_ENDPOINT_URL"]})
    table = catalog.load_table(f"{NAMESPACE}.prices")
    assert table.metadata_location.startswith("s3://bucket/lake/iceberg/raw/prices/metadata/")
    assert [str(close) for close in table.scan().to_arrow()["close"].to_pylist()] == ["2.500000"]
    assert catalog.load_table(f"{SITE_NAMESPACE}.fct_price").scan().to_arrow().num_rows == 1
    granted = [
        statement for statement in role_policy(dev, "dev-register-iceberg-tables")["Statement"] if "glue:GetTable" in statement["Action"]
    ]
    databases = (NAMESPACE, SITE_NAMESPACE)
    expected = ["catalog", *(one for name in databases for one in (f"database/{name}", f"table/{name}/*"))]
    assert [arn.rpartition(":")[2] for arn in granted[0]["Resource"]] == expected


@pytest.mark.usefixtures("account")
def test_a_refusal_of_glue_ends_with_77(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = CommitDraft(parquet([price("2012-01-03")]), 1, None, 0, lambda: (), ("ticker",), "hash(ticker, 4)", {"job": "test"})
    Lake(LAKE).commit("prices", "ticker=AAPL", draft)

    def refuse(client: BaseClient, operation: str, _: object) -> Any:
        raise client.exceptions.ClientError({"Error": {"Code": "AccessDeniedException"}}, operation)

    lake = Lake(LAKE)
    monkeypatch.setattr(runner, "Lake", lambda _: lake)
    monkeypatch.setattr(runner, "_select_datasets", lambda *_: ["prices"])
    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    with pytest.raises(AuthError, match="AWS refused .*AccessDeniedException"):
        runner.run(Recorder(), LAKE, (), "glue", NAMESPACE)  # type: ignore[arg-type]
