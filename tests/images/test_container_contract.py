"""The job contract in a container: verbs, exit codes, signals and limits."""

from __future__ import annotations

import http.server
import json
import os
import secrets
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from images import docker_cli
from tests.images.containers import SPECS, every_job, harden, image, inspected, run
from tests.job_output import JobOutput
from tests.test_job_contract import CANARY, arguments, s3, silence
from tests.test_job_contract import describe as described_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.catalogue import JobSpec

pytestmark = pytest.mark.docker


@every_job
def test_describe_needs_no_network_and_is_the_label(spec: JobSpec) -> None:
    told = run(spec, "describe").document  # by the image's entrypoint, see below
    assert told == described_here(spec)
    labels = inspected(spec)["Config"]["Labels"]
    assert json.loads(labels["finelt.describe"]) == told
    assert labels["org.opencontainers.image.title"] == spec.name
    assert labels["org.opencontainers.image.version"] == told["version"]
    assert labels["org.opencontainers.image.description"] == spec.description
    assert labels["org.opencontainers.image.base.name"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-dirty")) == 40
    assert labels["org.opencontainers.image.created"]


@every_job
def test_the_entrypoint_is_the_job_without_a_shell(spec: JobSpec) -> None:
    config = inspected(spec)["Config"]
    assert config["Entrypoint"] == ["/app/bin/job"]
    assert not config.get("Cmd")


@every_job
def test_threads_share_two_heaps(spec: JobSpec) -> None:
    """With glibc's eight heaps for each core, an extractor of six large filers takes a fifth more memory."""
    assert "MALLOC_ARENA_MAX=2" in inspected(spec)["Config"]["Env"]


@every_job
def test_usage_errors_end_with_2_and_one_receipt(spec: JobSpec) -> None:
    result = run(spec, "run")
    assert (result.code, result.receipt["status"], result.receipt["exit_code"]) == (2, "failed", 2)
    assert "Traceback" not in result.stderr


@every_job
def test_without_network_a_job_ends_with_75_and_leaks_no_secret(spec: JobSpec) -> None:
    for verb in ("check", "run"):
        result = run(spec, verb, *arguments(spec, Path("/tmp"), 9), environ={"CANARY": CANARY, **s3(9)})  # noqa: S108
        assert (result.code, result.receipt["exit_code"], result.receipt["verb"]) == (75, 75, verb)
        assert "Traceback" not in result.stderr
        assert CANARY not in result.stdout + result.stderr


@every_job
def test_sigterm_stops_a_container_that_waits_for_an_answer(spec: JobSpec) -> None:
    name = f"finelt-test-{secrets.token_hex(4)}"
    with silence() as (port, met):
        environ = {"CANARY": CANARY, **s3(port)}
        flags = ["--name", name, "--network", "host", *(word for variable in environ for word in ("--env", variable))]
        command = [
            docker_cli.find_client(),
            "run",
            "--rm",
            *harden(spec.tmp_mib),
            *flags,
            image(spec),
            "run",
            *arguments(spec, Path("/tmp"), port),  # noqa: S108
        ]
        with subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert met.wait(60), "the job never called the other side"
            docker_cli.docker("kill", "--signal", "TERM", name)
            stdout, stderr = process.communicate(timeout=300)  # while the other side is silent
    result = JobOutput(process.returncode, stdout, stderr)
    assert (result.code, result.receipt["status"]) == (143, "stopped")


@contextmanager
def endless_facts() -> Iterator[int]:
    """Serve an EDGAR whose response has more facts than fit in memory; yield its port."""

    class Edgar(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            try:
                self.wfile.write(b'{"cik": 320193, "entityName": "Endless", "facts": {"us-gaap": {"Assets": {"units": {"USD": [')
                for _ in range(1024):
                    self.wfile.write(b'{"end": "2012-12-31", "val": 1, "accn": "0", "fy": 2012, "fp": "FY"},' * 8192)
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Edgar) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("memory", "code", "is_killed"), [("32m", 137, "true"), ("128m", 65, "false")])
def test_out_of_memory_ends_with_137_and_an_answer_without_end_with_65(tmp_path: Path, memory: str, code: int, is_killed: str) -> None:
    """Docker reports the kill, and there is no receipt. A large response alone does not exhaust the memory."""
    spec = next(spec for spec in SPECS if spec.name == "extract-sec-company-facts")
    lake, name = tmp_path / "lake", f"finelt-test-{secrets.token_hex(4)}"
    lake.mkdir()
    lake.chmod(0o777)
    flags = ["--name", name, "--network", "host", "--memory", memory, "--memory-swap", memory, "--volume", f"{lake}:/lake"]
    with endless_facts() as port:
        words = arguments(spec, Path("/"), port, lake="/lake")
        command = [docker_cli.find_client(), "run", *harden(spec.tmp_mib), *flags, image(spec), "run", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    try:
        assert (done.returncode, done.stdout == "") == (code, code == 137)
        assert docker_cli.docker("inspect", "--format", "{{.State.OOMKilled}}", name) == is_killed
    finally:
        docker_cli.docker("rm", "--force", name)
    assert [path for path in lake.rglob("*") if path.is_file()] == []
