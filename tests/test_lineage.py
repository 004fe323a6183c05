"""OpenLineage events, CloudWatch metrics and a span of a job that runs as a process, read with the official libraries."""

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
from verification.sample_vendors.server import run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ = """
import json, sys
from openlineage.client import event_v2
from openlineage.client.facet_v2 import error_message_run, job_type_job, output_statistics_output_dataset, schema_dataset
from openlineage.client.serde import Serde

def without_meta(facet):
    return {name: value for name, value in facet.items() if name not in ("_producer", "_schemaURL")}

def parse_facets(facets, classes):
    parsed = {}
    for name, facet in facets.items():
        fields = without_meta(facet)
        if name == "schema":
            fields = {"fields": [schema_dataset.SchemaDatasetFacetFields(**column) for column in fields["fields"]]}
        parsed[name] = classes[name](**fields)
        assert parsed[name]._get_schema() == facet["_schemaURL"], (parsed[name]._get_schema(), facet["_schemaURL"])
    return parsed

for line in sys.stdin:
    event = json.loads(line)
    run, job = event["run"], event["job"]
    event_v2.RunEvent(
        eventTime=event["eventTime"], eventType=event_v2.RunState[event["eventType"]], producer=event["producer"],
        run=event_v2.Run(run["runId"], parse_facets(run["facets"], {"errorMessage": error_message_run.ErrorMessageRunFacet})),
        job=event_v2.Job(job["namespace"], job["name"], parse_facets(job["facets"], {"jobType": job_type_job.JobTypeJobFacet})),
        inputs=[event_v2.InputDataset(dataset["namespace"], dataset["name"], facets=dataset["facets"]) for dataset in event["inputs"]],
        outputs=[
            event_v2.OutputDataset(
                output["namespace"], output["name"], facets=parse_facets(output["facets"], {"schema": schema_dataset.SchemaDatasetFacet}),
                outputFacets=parse_facets(
                    output["outputFacets"], {"outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet}
                ),
            )
            for output in event["outputs"]
        ],
    )
    assert set(event) == {"eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
    print(event["eventType"])
"""

READ_SPAN = """
import json, sys
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

(span,) = ParseDict(json.load(sys.stdin), ExportTraceServiceRequest()).resource_spans[0].scope_spans[0].spans
print(span.name)
"""


@pytest.fixture(scope="module")
def vendors() -> Iterator[str]:
    """The URL of the sample vendors."""
    with run_server() as url:
        yield url


def run_extractor(lake: Path, vendors: str, fault: str = "", *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Extract a month of Treasury yields; `fault` is a fault of the sample vendor, such as /~html."""
    url = f"{vendors}{fault}/home.treasury.gov"
    words = ["--lake", str(lake), "--start", "2012-12-03", "--end", "2012-12-31", "--retry-timeout", "0", "--base-url", url]
    command = [sys.executable, "-m", "extract_treasury_yields", "run", *words, *more]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=600)


def file_transport(path: Path) -> dict[str, str]:
    """The environment that writes events to a file."""
    return {"OPENLINEAGE__TRANSPORT__TYPE": "file", "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(path)}


def test_events_equal_those_of_the_official_client_with_columns_and_rows(tmp_path: Path, vendors: str) -> None:
    python = environments.python("openlineage", "openlineage-python==1.54.0")
    path = tmp_path / "events"
    done = run_extractor(tmp_path / "lake", vendors, **file_transport(path))
    failed = run_extractor(tmp_path / "lake", vendors, "/~html", **file_transport(path))
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
    """Keeps posted documents with their path and key."""

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, self.headers["Authorization"], document))  # type: ignore[attr-defined]
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Do not log requests."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A collector on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as listening:
        listening.posted = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def test_a_server_receives_the_events_in_order_with_the_key(tmp_path: Path, vendors: str, server: Any) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    done = run_extractor(tmp_path / "lake", vendors, OPENLINEAGE_URL=url, OPENLINEAGE_API_KEY="canary-7f3a9c")
    assert done.returncode == 0
    received = [(path, key, event["eventType"]) for path, key, event in server.posted]
    assert received == [("/api/v1/lineage", "Bearer canary-7f3a9c", kind) for kind in ("START", "COMPLETE")]
    assert "canary" not in done.stdout + done.stderr


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("parent", "trace", "span"), [(f"00-{TRACE}-{SPAN}-01", TRACE, SPAN), ("", None, None), (f"00-{'0' * 32}-{SPAN}-01", None, None)]
)
def test_a_run_is_a_child_span_of_its_parent(
    tmp_path: Path, vendors: str, server: Any, parent: str, trace: str | None, span: str | None
) -> None:
    """Protobuf's JSON reader accepts the document as OTLP's message."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x", "TRACEPARENT": parent}
    done = run_extractor(tmp_path / "lake", vendors, "/~html", **environ)
    ((path, key, document),) = server.posted
    assert (path, key, done.returncode) == ("/v1/traces", "Bearer x", 75)
    (recorded,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert recorded["traceId"] == (trace or recorded["traceId"])
    assert (recorded.get("parentSpanId"), recorded["status"]["code"], recorded["name"]) == (span, 2, "extract-treasury-yields run")
    assert int(recorded["startTimeUnixNano"]) < int(recorded["endTimeUnixNano"])
    python = environments.python("otlp", "opentelemetry-proto==1.39.1")
    read = subprocess.run([python, "-c", READ_SPAN], input=json.dumps(document), capture_output=True, text=True, check=False)
    assert read.stdout.strip() == "extract-treasury-yields run", read.stderr


def test_an_option_sets_the_endpoint_of_the_span(tmp_path: Path, vendors: str, server: Any) -> None:
    done = run_extractor(
        tmp_path / "lake", vendors, "", "--trace", f"http://127.0.0.1:{server.server_address[1]}", TRACEPARENT=f"00-{TRACE}-{SPAN}-01"
    )
    ((path, _, document),) = server.posted
    (recorded,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (path, recorded["traceId"], recorded["parentSpanId"], done.returncode) == ("/v1/traces", TRACE, SPAN, 0)


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
def test_an_unreachable_endpoint_changes_nothing(tmp_path: Path, vendors: str, environ: dict[str, str]) -> None:
    done = run_extractor(tmp_path / "lake", vendors, **environ)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "done")
    assert "Traceback" not in done.stderr


def test_no_event_is_sent_if_openlineage_is_disabled(tmp_path: Path, vendors: str) -> None:
    run_extractor(tmp_path / "lake", vendors, **file_transport(tmp_path / "events"), OPENLINEAGE_DISABLED="true")
    assert not (tmp_path / "events").exists()


def test_cloudwatch_metrics_are_in_one_log_line(tmp_path: Path, vendors: str) -> None:
    """Every metric and dimension that the directive names is a field of the line, as CloudWatch requires."""
    done = run_extractor(tmp_path / "lake", vendors, FINELT_METRICS="emf")
    (line,) = (json.loads(text) for text in done.stderr.splitlines() if '"_aws"' in text)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert all(isinstance(line[metric["Name"]], int | float) for metric in directive["Metrics"])
    assert all(isinstance(line[name], str) for names in directive["Dimensions"] for name in names)
    assert (line["job"], line["status"], line["rows"]) == ("extract-treasury-yields", "done", 250)
    assert "_aws" not in run_extractor(tmp_path / "lake", vendors).stderr
