"""OpenLineage events of a run (START, then COMPLETE, FAIL or ABORT) and its CloudWatch metrics, without their libraries.

The environment is that of the official client: OPENLINEAGE_URL (with OPENLINEAGE_ENDPOINT, OPENLINEAGE_API_KEY) for a server, or
OPENLINEAGE__TRANSPORT__TYPE=file with OPENLINEAGE__TRANSPORT__LOG_FILE_PATH for a file; OPENLINEAGE_NAMESPACE names the job's namespace and
OPENLINEAGE_DISABLED=true turns it off. FINELT_METRICS=emf writes one line of CloudWatch's embedded metric format to stderr.

Sources: the OpenLineage specification 2-0-2 and its naming page; "Embedded metric format" in the CloudWatch guide.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.declaration import Declaration
    from jobkit.receipt import Partition, Receipt

PRODUCER = "urn:finelt:jobkit"
SPEC = "https://openlineage.io/spec"
TIMEOUT_S = 5.0  # of one event; the job works meanwhile
LAST_WITHIN_S = 3.0  # how long the end of a job waits, at most, for events that are being sent
UNITS = {"rows": "Count", "bytes": "Bytes", "quarantined": "Count", "elapsed_s": "Seconds", "cpu_s": "Seconds", "peak_rss_bytes": "Bytes"}


@dataclass
class Lineage:
    """Sends the events of one run. It never raises, and the job waits for it at its end only."""

    environ: Mapping[str, str]
    declared: Declaration
    run_id: str
    package: str
    _sending: list[threading.Thread] = field(default_factory=list)

    def send_start(self, at: datetime) -> None:
        """Send START in the background."""
        self._send(self._build_event("START", at, [], [], {}))

    def send_end(self, receipt: Receipt) -> None:
        """Send COMPLETE, FAIL or ABORT; wait a few seconds at most until all events are delivered."""
        kind = {"failed": "FAIL", "stopped": "ABORT"}.get(receipt["status"], "COMPLETE")
        facets = {}
        if receipt["error"]:
            message = {"message": receipt["error"], "programmingLanguage": "python"}
            facets["errorMessage"] = _build_facet("1-0-1", "ErrorMessageRunFacet", message)
        with contextlib.suppress(Exception):  # a dataset without a name is no reason to fail a job that is done
            self._send(
                self._build_event(kind, datetime.now(UTC), _build_inputs(self.declared, receipt), self._build_outputs(receipt), facets)
            )
        for thread in self._sending:
            thread.join(LAST_WITHIN_S / len(self._sending))

    def print_metrics(self, receipt: Receipt) -> None:
        """Print the receipt's figures to stderr as CloudWatch reads them, if FINELT_METRICS enables it."""
        if self.environ.get("FINELT_METRICS") != "emf":
            return
        metrics = [{"Name": name, "Unit": unit} for name, unit in UNITS.items()]
        directive = {"Namespace": "finelt", "Dimensions": [["job"], ["job", "status"]], "Metrics": metrics}
        figures: Mapping[str, Any] = receipt
        at = round(datetime.fromisoformat(receipt["ended_at"]).timestamp() * 1000)
        line = {"_aws": {"Timestamp": at, "CloudWatchMetrics": [directive]}, "job": receipt["job"], "status": receipt["status"]}
        with contextlib.suppress(OSError):
            sys.stderr.write(redaction.to_json({**line, **{name: figures[name] for name in UNITS}}) + "\n")
            sys.stderr.flush()

    def _build_outputs(self, receipt: Receipt) -> list[dict[str, Any]]:
        """Return the datasets written, each with its rows and bytes, and its columns if it has a contract."""
        outputs = []
        for place, dataset, parts in _list_written(self.declared, receipt):
            statistics = {"rowCount": sum(part["rows"] for part in parts), "size": sum(part["bytes"] for part in parts)}
            facets = self._build_columns(dataset)
            output = {"outputStatistics": _build_facet("1-0-2", "OutputStatisticsOutputDatasetFacet", statistics)}
            outputs.append({**place, "facets": facets, "outputFacets": output})
        return outputs

    def _build_columns(self, dataset: str) -> dict[str, Any]:
        path = Path(str(sys.modules[self.package].__file__)).with_name(f"{dataset}.odcs.yaml")
        if not path.exists():
            return {}
        from jobkit import contracts  # noqa: PLC0415  slow to import, and imported already by a job that writes such a dataset

        fields = [{"name": column.name, "type": column.type, "description": column.description} for column in contracts.load(path).fields]
        return {"schema": _build_facet("1-2-0", "SchemaDatasetFacet", {"fields": fields})}

    def _build_event(
        self, kind: str, at: datetime, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], facets: dict[str, Any]
    ) -> dict[str, Any]:
        kinds = {"processingType": "BATCH", "integration": "FINELT", "jobType": "JOB"}
        return {
            "eventTime": at.isoformat(),
            "eventType": kind,
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": str(uuid.UUID(self.run_id)), "facets": facets},
            "job": {
                "namespace": self.environ.get("OPENLINEAGE_NAMESPACE") or "finelt",
                "name": self.declared.name,
                "facets": {"jobType": _build_facet("2-0-4", "JobTypeJobFacet", kinds)},
            },
            "inputs": inputs,
            "outputs": outputs,
        }

    def _send(self, event: dict[str, Any]) -> None:
        deliver = _choose_delivery(self.environ)
        if deliver is None:
            return
        previous = self._sending[-1] if self._sending else None
        thread = threading.Thread(target=deliver, args=(event, previous), name="openlineage", daemon=True)
        thread.start()
        self._sending.append(thread)


def _choose_delivery(environ: Mapping[str, str]) -> Any:  # noqa: ANN401  a function, or None
    """Return the function that delivers an event after the previous one; None if the environment enables no delivery."""
    if environ.get("OPENLINEAGE_DISABLED", "").lower() == "true":
        return None
    file = environ.get("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH")
    if environ.get("OPENLINEAGE__TRANSPORT__TYPE") == "file" and file:
        return lambda event, previous: _deliver_after(previous, lambda: _append(Path(file), event))
    if url := environ.get("OPENLINEAGE_URL"):
        return lambda event, previous: _deliver_after(previous, lambda: _post(url, environ, event))
    return None


def _deliver_after(previous: threading.Thread | None, deliver: Any) -> None:  # noqa: ANN401
    if previous is not None:
        previous.join(TIMEOUT_S)
    with contextlib.suppress(OSError, ValueError, HTTPException):
        deliver()


def _append(path: Path, event: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(redaction.to_json(event) + "\n")


def _post(url: str, environ: Mapping[str, str], event: dict[str, Any]) -> None:
    address = f"{url.rstrip('/')}/{environ.get('OPENLINEAGE_ENDPOINT') or 'api/v1/lineage'}"
    headers = {"Content-Type": "application/json"}
    if key := environ.get("OPENLINEAGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(address, redaction.to_json(event).encode(), headers)  # noqa: S310  the URL is the operator's
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310


def _build_facet(version: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}", **values}


def _build_inputs(declared: Declaration, receipt: Receipt) -> list[dict[str, Any]]:
    """Return the vendor's hosts, or the datasets that the job reads; `raw/*` stands for the datasets in the receipt."""
    places = [{"namespace": f"https://{host}", "name": "/"} for host in declared.hosts]
    named = sorted({part["dataset"] for part in receipt["partitions"]})
    for dataset in declared.reads:
        places += [_name_dataset(f"raw/{name}", receipt) for name in named] if dataset == "raw/*" else [_name_dataset(dataset, receipt)]
    return [{**place, "facets": {}} for place in places]


def _list_written(declared: Declaration, receipt: Receipt) -> list[tuple[dict[str, str], str, list[Partition]]]:
    """Return place, name and partitions of each dataset written."""
    parts = [part for part in receipt["partitions"] if part["outcome"] in ("committed", "unchanged")]
    datasets = []
    for written in declared.writes:
        dataset = written.removeprefix("raw/")
        own = [part for part in parts if part["dataset"] == dataset] if written.startswith("raw/") else parts
        if own:
            datasets.append((_name_dataset(written, receipt), dataset, own))
    return datasets


def _name_dataset(dataset: str, receipt: Receipt) -> dict[str, str]:
    """Return namespace and name by OpenLineage's naming page: bucket and key, or server and database.schema."""
    arguments = receipt["arguments"]
    if dataset.startswith("warehouse/"):
        url = urlsplit(str(arguments.get("warehouse")))
        database = url.path.strip("/")
        return {"namespace": f"postgres://{url.hostname}:{url.port or 5432}", "name": f"{database}.{dataset.removeprefix('warehouse/')}"}
    root = urlsplit(str(arguments.get("site" if dataset == "site" else "lake")))
    name = f"{root.path.rstrip('/')}/{dataset}".replace("/site/site", "/site")
    if root.scheme == "s3":
        return {"namespace": f"s3://{root.netloc}", "name": name.lstrip("/")}
    return {"namespace": "file", "name": name}
