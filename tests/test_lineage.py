"""OpenLineage events, CloudWatch metrics and a span from a job as a process; the events are what the official client would have made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests import environments
from verification.sample_vendors.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ = """
import json, sys
from openlineage.client import event_v2
from openlineage.client.facet_v2 import error_message_run, job_type_job, output_statistics_output_dataset, schema_dataset
from openlineage.client.serde import Serde

def without(told):
    return {name: value for name, value in told.items() if name not in ("_producer", "_schemaURL")}

def faceted(told, kinds):
    found = {}
    for name, facet in told.items():
        given = without(facet)
        if name == "schema":
            given = {"fields": [schema_dataset.SchemaDatasetFacetFields(**column) for column in given["fields"]]}
        made = kinds[name](**given)
        assert made._get_schema() == facet["_schemaURL"], (made._get_schema(), facet["_schemaURL"])
        found[name] = made
    return found

for line in sys.stdin:
    event = json.loads(line)
    run, job = event["run"], event["job"]
    event_v2.RunEvent(
        eventTime=event["eventTime"], eventType=event_v2.RunState[event["eventType"]], producer=event["producer"],
        run=event_v2.Run(run["runId"], faceted(run["facets"], {"errorMessage": error_message_run.ErrorMessageRunFacet})),
        job=event_v2.Job(job["namespace"], job["name"], faceted(job["facets"], {"jobType": job_type_job.JobTypeJobFacet})),
        inputs=[event_v2.InputDataset(one["namespace"], one["name"], facets=one["facets"]) for one in event["inputs"]],
        outputs=[
            event_v2.OutputDataset(
                one["namespace"], one["name"], facets=faceted(one["facets"], {"schema": schema_dataset.SchemaDatasetFacet}),
                outputFacets=faceted(
                    one["outputFacets"], {"outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet}
                ),
            )
            for one in event["outputs"]
        ],
    )
    assert set(event) == {"eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
    print(event["eventType"])
"""

READ_SPAN = """
import json, sys
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

(told,) = ParseDict(json.load(sys.stdin), ExportTraceServiceRequest()).resource_spans[0].scope_spans[0].spans
print(told.name)
"""


@pytest.fixture(scope="module")
def vendors() -> Iterator[str]:
    with serving() as url:
        yield url


def extract(lake: Path, vendors: str, fault: str = "", *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    url = f"{vendors}{fault}/home.treasury.gov"
    words = ["--lake", str(lake), "--start", "2012-12-03", "--end", "2012-12-31", "--retry-timeout", "0", "--base-url", url]
    command = [sys.executable, "-m", "extract_treasury_yields", "run", *words, *more]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=60)


def to_file(path: Path) -> dict[str, str]:
    return {"OPENLINEAGE__TRANSPORT__TYPE": "file", "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(path)}


def test_the_events_are_the_official_clients_with_columns_and_rows(tmp_path: Path, vendors: str) -> None:
    python = environments.python("openlineage", "openlineage-python==1.54.0")
    path = tmp_path / "events"
    done = extract(tmp_path / "lake", vendors, **to_file(path))
    failed = extract(tmp_path / "lake", vendors, "/~html", **to_file(path))
    assert (done.returncode, failed.returncode) == (0, 75)
    read = subprocess.run([python, "-c", READ], input=path.read_text(), capture_output=True, text=True, check=False)
    assert read.stdout.split() == ["START", "COMPLETE", "START", "FAIL"], read.stderr
    events = [json.loads(line) for line in path.read_text().splitlines()]
    receipt = json.loads(done.stdout)
    (output,) = events[1]["outputs"]
    assert events[0]["run"]["runId"] == events[1]["run"]["runId"] != events[2]["run"]["runId"]
    assert events[0]["run"]["runId"].replace("-", "") == receipt["run_id"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == receipt["rows"] == 250
    assert {"name": "10 Yr", "type": "decimal(8,4)", "description": ""} in output["facets"]["schema"]["fields"]
    assert output["name"] == f"{tmp_path}/lake/raw/treasury_par_yields"
    assert events[1]["inputs"] == [{"namespace": "https://home.treasury.gov", "name": "/", "facets": {}}]
    assert events[3]["run"]["facets"]["errorMessage"]["message"] == json.loads(failed.stdout)["error"]


class Collector(BaseHTTPRequestHandler):
    """Keeps what is posted, with its path and key."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.kept.append((self.path, self.headers["Authorization"], told))  # type: ignore[attr-defined]
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as listening:
        listening.kept = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def test_a_server_gets_them_in_order_with_the_key(tmp_path: Path, vendors: str, server: Any) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    done = extract(tmp_path / "lake", vendors, OPENLINEAGE_URL=url, OPENLINEAGE_API_KEY="canary-7f3a9c")
    assert done.returncode == 0
    told = [(path, key, event["eventType"]) for path, key, event in server.kept]
    assert told == [("/api/v1/lineage", "Bearer canary-7f3a9c", kind) for kind in ("START", "COMPLETE")]
    assert "canary" not in done.stdout + done.stderr


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("parent", "trace", "span"), [(f"00-{TRACE}-{SPAN}-01", TRACE, SPAN), ("", None, None), (f"00-{'0' * 32}-{SPAN}-01", None, None)]
)
def test_a_run_is_a_span_below_its_parent(
    tmp_path: Path, vendors: str, server: Any, parent: str, trace: str | None, span: str | None
) -> None:
    """The document is one that protobuf's own JSON reader takes for OTLP's message."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x", "TRACEPARENT": parent}
    done = extract(tmp_path / "lake", vendors, "/~html", **given)
    ((path, key, document),) = server.kept
    assert (path, key, done.returncode) == ("/v1/traces", "Bearer x", 75)
    (told,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert told["traceId"] == (trace or told["traceId"])
    assert (told.get("parentSpanId"), told["status"]["code"], told["name"]) == (span, 2, "extract-treasury-yields run")
    assert int(told["startTimeUnixNano"]) < int(told["endTimeUnixNano"])
    python = environments.python("otlp", "opentelemetry-proto==1.39.1")
    read = subprocess.run([python, "-c", READ_SPAN], input=json.dumps(document), capture_output=True, text=True, check=False)
    assert read.stdout.strip() == "extract-treasury-yields run", read.stderr


def test_an_option_says_where_the_span_goes_too(tmp_path: Path, vendors: str, server: Any) -> None:
    done = extract(
        tmp_path / "lake", vendors, "", "--trace", f"http://127.0.0.1:{server.server_address[1]}", TRACEPARENT=f"00-{TRACE}-{SPAN}-01"
    )
    ((path, _, document),) = server.kept
    (told,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (path, told["traceId"], told["parentSpanId"], done.returncode) == ("/v1/traces", TRACE, SPAN, 0)


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENLINEAGE_URL": "http://127.0.0.1:9"},
        {"OPENLINEAGE_URL": "no url at all"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "no url at all"},
        {"OPENLINEAGE__TRANSPORT__TYPE": "file", "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": "/no/such/folder/events"},
    ],
)
def test_who_cannot_be_told_changes_nothing(tmp_path: Path, vendors: str, environ: dict[str, str]) -> None:
    done = extract(tmp_path / "lake", vendors, **environ)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "done")
    assert "Traceback" not in done.stderr


def test_nothing_is_told_where_nobody_asked_or_it_is_turned_off(tmp_path: Path, vendors: str) -> None:
    extract(tmp_path / "lake", vendors, **to_file(tmp_path / "events"), OPENLINEAGE_DISABLED="true")
    assert not (tmp_path / "events").exists()


def test_cloudwatch_finds_the_metrics_in_one_line(tmp_path: Path, vendors: str) -> None:
    """Every metric and dimension that the line's directive names is a field of it, as CloudWatch wants."""
    done = extract(tmp_path / "lake", vendors, FINELT_METRICS="emf")
    (line,) = (json.loads(text) for text in done.stderr.splitlines() if '"_aws"' in text)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert all(isinstance(line[metric["Name"]], int | float) for metric in directive["Metrics"])
    assert all(isinstance(line[name], str) for names in directive["Dimensions"] for name in names)
    assert (line["job"], line["status"], line["rows"]) == ("extract-treasury-yields", "done", 250)
    assert "_aws" not in extract(tmp_path / "lake", vendors).stderr
