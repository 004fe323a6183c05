"""The local stack: programs that fail to start, processes that a killed stack left, and directories that cannot be used."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from jobkit.errors import MisconfiguredError, TemporaryError

from orchestration.local import ports, processes, site_server, stack

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_that_ends_or_is_late_is_reported_with_its_log(tmp_path: Path) -> None:
    broken = processes.start_program("broken thing", [sys.executable, "-c", "raise SystemExit('no such port')"], tmp_path, {})
    with pytest.raises(MisconfiguredError, match=r"the broken thing ended with 1: no such port; its log is .*/logs/broken-thing\.log"):
        broken.wait_until(lambda: False, 10)
    slow = processes.start_program("slow thing", ["sleep", "60"], tmp_path, {})
    with pytest.raises(TemporaryError, match=r"the slow thing was not ready within 0 s; its log is .*slow-thing\.log"):
        slow.wait_until(lambda: False, 0)
    processes.stop_program(slow)
    assert slow.process.returncode is not None


def test_leftover_processes_of_a_stack_are_found_with_their_children_and_stopped(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    script = (
        "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); print('ready', flush=True); time.sleep(60)"
    )
    left = processes.start_program("left", [sys.executable, "-c", script], ours, {})
    other = processes.start_program("other", ["sleep", "60"], others, {})
    left.wait_until(lambda: "ready" in left.log.read_text(), 10)
    assert len(processes.find_leftover_processes(ours)) == 2
    processes.stop_processes(processes.find_leftover_processes(ours))
    left.process.wait(5)
    assert processes.find_leftover_processes(ours) == []
    assert other.process.poll() is None
    processes.stop_program(other)


def begin(directory: Path) -> None:
    """Start a stack that must not start."""
    with stack.run_stack(directory, vendors=False, deployments=list):
        raise AssertionError


def test_a_directory_in_use_by_another_stack_is_refused(tmp_path: Path) -> None:
    with stack.lock_directory(tmp_path), pytest.raises(TemporaryError, match=rf"another demo works in .* \(process {os.getpid()}\); wait"):
        begin(tmp_path)
    assert processes.find_leftover_processes(tmp_path) == []


def test_an_unusable_directory_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MisconfiguredError, match="cannot work in .*file.*; choose another place with --dir"):
        begin(tmp_path / "file" / "inside")
    monkeypatch.setattr(stack, "REQUIRED_BYTES", 10**18)
    with pytest.raises(TemporaryError, match="MB are free at .* are needed; free some or choose another --dir"):
        begin(tmp_path / "new")


def test_the_server_of_the_site_answers_404_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the site")
    app = site_server.build_app(tmp_path)

    def request(path: str) -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "query_string": b"", "headers": []}
        asyncio.run(app(scope, receive, send))
        return int(sent[0]["status"])

    assert (request("/"), request("/latest/"), request("/nowhere.parquet")) == (200, 404, 404)


def test_a_server_gets_its_last_port_again_if_it_is_free(tmp_path: Path) -> None:
    remembered = tmp_path / "ports" / "site"
    with ports.listen_on_last_port(remembered) as first:
        port = first.getsockname()[1]
        with ports.listen_on_last_port(tmp_path / "ports" / "prefect") as other, socket.create_connection(first.getsockname()):
            assert other.getsockname()[1] != port
    with ports.listen_on_last_port(remembered) as again:
        assert again.getsockname() == ("127.0.0.1", port)
        with ports.listen_on_last_port(remembered) as moved:
            assert moved.getsockname()[1] == int(remembered.read_text()) != port
    for damage in ("", "-1", "99999"):
        remembered.write_text(damage)
        ports.listen_on_last_port(remembered).close()
        assert int(remembered.read_text()) > 0
