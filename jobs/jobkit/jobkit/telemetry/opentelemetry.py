"""One OpenTelemetry span for the run, a child of the span in TRACEPARENT, without OpenTelemetry's library.

OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT with /v1/traces appended, says where spans go, and
OTEL_EXPORTER_OTLP_HEADERS what is sent with them. Sources: OTLP 1.x, "OTLP/HTTP" with JSON; W3C Trace Context, "traceparent".
"""

from __future__ import annotations

import contextlib
import re
import secrets
import urllib.request
from datetime import datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.receipt import Receipt

PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
TIMEOUT_S = 3.0
INTERNAL, OK, ERROR = 1, 1, 2  # span kind and status codes of OTLP
SHOWN = ("run_id", "exit_code", "rows", "bytes", "committed", "unchanged", "quarantined")


def send_span(environ: Mapping[str, str], receipt: Receipt) -> None:
    """Send the span if the environment names an endpoint. Never raises; gives up after a few seconds."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not endpoint and (base := environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        endpoint = f"{base.rstrip('/')}/v1/traces"
    if not endpoint:
        return
    with contextlib.suppress(OSError, ValueError, HTTPException):
        pairs = (pair.partition("=") for pair in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in pair)
        headers = {"Content-Type": "application/json", **{name.strip(): unquote(value.strip()) for name, _, value in pairs}}
        body = redaction.to_json(make_request(environ, receipt)).encode()
        request = urllib.request.Request(endpoint, body, headers)  # noqa: S310  the URL is the operator's
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310


def make_request(environ: Mapping[str, str], receipt: Receipt) -> dict[str, Any]:
    """Return an ExportTraceServiceRequest with the span. Without a valid TRACEPARENT the span starts a new trace."""
    parent = PARENT.fullmatch(environ.get("TRACEPARENT", ""))
    figures: Mapping[str, Any] = receipt
    span = {
        "traceId": parent[1] if parent else secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        **({"parentSpanId": parent[2]} if parent else {}),
        "name": f"{receipt['job']} {receipt['verb']}",
        "kind": INTERNAL,
        "startTimeUnixNano": _to_nanoseconds(receipt["started_at"]),
        "endTimeUnixNano": _to_nanoseconds(receipt["ended_at"]),
        "attributes": [_build_attribute(f"finelt.{name}", figures[name]) for name in SHOWN],
        "status": {"code": ERROR, "message": str(receipt["error"])} if receipt["exit_code"] else {"code": OK},
    }
    resource = [
        _build_attribute("service.name", environ.get("OTEL_SERVICE_NAME") or receipt["job"]),
        _build_attribute("service.version", receipt["version"]),
    ]
    spans = {"scope": {"name": "finelt"}, "spans": [span]}
    return {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [spans]}]}


def _to_nanoseconds(moment: str) -> str:
    return str(round(datetime.fromisoformat(moment).timestamp() * 1_000_000) * 1000)


def _build_attribute(name: str, value: object) -> dict[str, Any]:
    """Return an attribute in OTLP's JSON, where integers are text, as in all of protobuf's JSON."""
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
