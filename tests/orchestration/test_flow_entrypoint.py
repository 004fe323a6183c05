"""A flow's process waits for a Prefect server that is not running yet."""

from __future__ import annotations

import http.server
import runpy
import threading
from typing import TYPE_CHECKING

from orchestration.runtime import entrypoint

if TYPE_CHECKING:
    import pytest


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")


def test_the_engine_starts_when_the_server_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    server = http.server.HTTPServer(("127.0.0.1", 0), Answering, bind_and_activate=False)
    server.server_bind()  # the port is ours, connections are refused
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0")
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: told.append(name))

    def appear() -> None:
        told.append("server")
        server.server_activate()
        server.handle_request()

    appearing = threading.Timer(0.5, appear)
    appearing.start()
    entrypoint.main()
    appearing.join()
    server.server_close()
    assert told == ["server", "prefect.engine"]
