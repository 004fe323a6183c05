"""The Dagster launcher, against the protocol of Dagster Pipes. `tests/orchestration/test_launchers.py` uses Dagster itself."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import errors
from jobkit.launchers import dagster

from jobs.jobkit.tests.launcher_receipt import RECEIPT

if TYPE_CHECKING:
    from pathlib import Path


def encode(document: dict[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


def context(**more: object) -> dict[str, Any]:
    return {"asset_keys": None, "partition_key": None, "partition_key_range": None, "run_id": "r", "extras": {}, **more}


def launch(data: dict[str, Any], messages: Path) -> dagster.Dagster:
    return dagster.Dagster({"DAGSTER_PIPES_CONTEXT": encode({"data": data}), "DAGSTER_PIPES_MESSAGES": encode({"path": str(messages)})})


def read_messages(messages: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in messages.read_text().splitlines()]
    assert all(line["__dagster_pipes_version"] == "0.1" for line in lines)
    return lines


def test_extras_are_options_and_a_daily_partition_is_a_date_range(tmp_path: Path) -> None:
    options = launch(context(extras={"lake": "s3://lake"}, partition_key="2012-12-03"), tmp_path / "m").options()
    assert options == {"lake": "s3://lake", "start": "2012-12-03", "end": "2012-12-03"}
    days = {"start": "2012-12-03", "end": "2012-12-07"}
    assert launch(context(partition_key_range=days), tmp_path / "m").options() == days
    assert launch(context(partition_key="AAPL"), tmp_path / "m").options() == {}
    both = context(extras={"start": "2012-01-01"}, partition_key="2012-12-03")
    assert launch(both, tmp_path / "m").options() == {"start": "2012-01-01", "end": "2012-12-03"}


def test_a_context_file_is_read_and_a_broken_context_is_misconfigured(tmp_path: Path) -> None:
    (tmp_path / "context").write_text(json.dumps(context(extras={"a": 1})))
    assert dagster.Dagster({"DAGSTER_PIPES_CONTEXT": encode({"path": str(tmp_path / "context")})}).options() == {"a": 1}
    for broken in ("x", encode({}), encode({"path": str(tmp_path / "missing")})):
        with pytest.raises(errors.MisconfiguredError, match="the context of Dagster Pipes cannot be read"):
            dagster.Dagster({"DAGSTER_PIPES_CONTEXT": broken}).options()


def test_each_asset_gets_the_rows_and_data_version_of_its_own_dataset(tmp_path: Path) -> None:
    launcher = launch(context(asset_keys=["raw/things", "everything"]), tmp_path / "m")
    assert launcher.claim()
    launcher.report_end(RECEIPT, 0, "2 partitions")
    methods = [line["method"] for line in read_messages(tmp_path / "m")]
    assert methods == ["opened", "report_custom_message", "report_asset_materialization", "report_asset_materialization", "closed"]
    things, everything = (line["params"] for line in read_messages(tmp_path / "m")[2:4])
    assert (things["asset_key"], things["metadata"]["rows"]["raw_value"]) == ("raw/things", 3)
    assert (everything["asset_key"], everything["metadata"]["rows"]["raw_value"]) == ("everything", 7)
    assert things["data_version"] != everything["data_version"]


def test_a_failure_reports_its_cause_and_no_materialization(tmp_path: Path) -> None:
    launcher = launch(context(asset_keys=["things"]), tmp_path / "m")
    launcher.claim()
    launcher.report_end({**RECEIPT, "exit_code": 75}, 75, "the vendor is unavailable")
    assert [line["method"] for line in read_messages(tmp_path / "m")] == ["opened", "report_custom_message", "closed"]
    assert read_messages(tmp_path / "m")[-1]["params"]["exception"]["message"] == "the vendor is unavailable"
