"""The built images: each promise is tested over every job of the catalogue."""

from __future__ import annotations

import http.server
import json
import os
import re
import secrets
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from images import base, docker_cli, lock, plan, size
from images.docker_cli import BuildEnvironment, EngineError
from jobs.catalogue import REPOSITORY, JobSpec, catalogue
from tests.images.registry import run_registry
from tests.test_job_contract import CANARY, arguments, s3, silence
from tests.test_job_contract import describe as described_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.receipt import Receipt

pytestmark = pytest.mark.docker
SPECS = catalogue()
EXTRACTS = [spec for spec in SPECS if spec.name.startswith("extract-")]
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108
every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
INSPECT_FILES = """
import json, os, stat, sys
found = {"setuid": [], "python": sys.prefix, "writable": []}
for folder, names, files in os.walk("/"):
    names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/sys", "/dev")]
    for name in files:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            found["setuid"].append(os.path.join(folder, name))
        if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            found["writable"].append(os.path.join(folder, name))
found["commands"] = sorted({name for path in os.environ["PATH"].split(":") if os.path.isdir(path) for name in os.listdir(path)})
print(json.dumps(found))
"""


@cache
def build_environment() -> BuildEnvironment:
    """Read the build environment; if the recipe's base cannot be pulled, use one built from Debian's packages."""
    environment = BuildEnvironment.from_environ(os.environ)
    if environment.python_image is None:
        default = plan.read_default_base(plan.read_checkout())
        try:
            docker_cli.image_exists(default) or docker_cli.docker("pull", "--quiet", default)
        except EngineError:
            return replace(environment, python_image=base.ensure_base(), network=environment.network or "host")
    return environment


@cache
def image(spec: JobSpec) -> str:
    return docker_cli.build_image(spec, build_environment())


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (line,) = self.stdout.splitlines()
        document = json.loads(line)
        assert isinstance(document, dict)
        return document

    @property
    def receipt(self) -> Receipt:
        """The receipt on stdout."""
        return cast("Receipt", self.document)


def run(spec: JobSpec, *words: str, flags: Sequence[str] = ("--network", "none"), environ: dict[str, str] | None = None) -> Result:
    """Run a job in a hardened container and remove it."""
    name = f"finelt-test-{secrets.token_hex(4)}"
    given = [word for variable in environ or {} for word in ("--env", variable)]
    command = [docker_cli.find_client(), "run", "--rm", "--name", name, *HARDENED, *flags, *given, image(spec), *words]
    try:
        done = subprocess.run(command, env={**os.environ, **(environ or {})}, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        docker_cli.docker("rm", "--force", name)
        raise
    return Result(done.returncode, done.stdout, done.stderr)


def python(spec: JobSpec, code: str, *flags: str) -> str:
    """Run Python code in the image and return its output."""
    return docker_cli.docker("run", "--rm", "--network", "none", "--entrypoint", "/app/bin/python", *flags, image(spec), "-c", code)


def inspected(spec: JobSpec) -> dict[str, Any]:
    (document,) = json.loads(docker_cli.docker("image", "inspect", image(spec)))
    assert isinstance(document, dict)
    return document


def layers(name: str) -> list[str]:
    (document,) = json.loads(docker_cli.docker("image", "inspect", name))
    return list(document["RootFS"]["Layers"])


@every_job
def test_describe_needs_no_network_and_is_the_label(spec: JobSpec) -> None:
    told = run(spec, "describe").document
    assert told == described_here(spec)
    labels = inspected(spec)["Config"]["Labels"]
    assert json.loads(labels["finelt.describe"]) == told
    assert labels["org.opencontainers.image.title"] == spec.name
    assert labels["org.opencontainers.image.version"] == told["version"]
    assert labels["org.opencontainers.image.description"] == spec.description
    assert labels["org.opencontainers.image.base.name"]


@every_job
def test_the_entrypoint_is_the_job_without_a_shell(spec: JobSpec) -> None:
    config = inspected(spec)["Config"]
    assert config["Entrypoint"] == ["/app/bin/job"]
    assert not config.get("Cmd")
    assert spec.name in run(spec, "--version").stdout


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
def test_sigterm_stops_a_container_within_ten_seconds(spec: JobSpec) -> None:
    name = f"finelt-test-{secrets.token_hex(4)}"
    with silence() as (port, met):
        environ = {"CANARY": CANARY, **s3(port)}
        flags = ["--name", name, "--network", "host", *(word for variable in environ for word in ("--env", variable))]
        command = [docker_cli.find_client(), "run", "--rm", *HARDENED, *flags, image(spec), "run", *arguments(spec, Path("/tmp"), port)]  # noqa: S108
        with subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert met.wait(60), "the job never called the other side"
            began = time.monotonic()
            docker_cli.docker("kill", "--signal", "TERM", name)
            stdout, stderr = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    result = Result(process.returncode, stdout, stderr)
    assert (result.code, result.receipt["status"]) == (143, "stopped")


@every_job
def test_the_job_runs_as_an_unprivileged_user_and_cannot_write_to_the_image(spec: JobSpec) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", inspected(spec)["Config"]["User"])
    code = """
import os, pathlib
print(os.getuid(), os.getgid(), os.getgroups())
for path in ("/", "/app", "/app/bin", "/etc", "/usr/bin"):
    try: pathlib.Path(path, "x").write_text("x")
    except OSError: continue
    print("wrote to", path)
"""
    assert python(spec, code) == "65532 65532 [65532]"


@every_job
def test_the_image_has_no_installer_compiler_or_setuid_program(spec: JobSpec) -> None:
    found = json.loads(python(spec, INSPECT_FILES, "--user", "0"))
    assert found["setuid"] == found["writable"] == []
    unwanted = re.compile(r"(pip|uv|uvx|wheel|easy_install|gcc|g\+\+|cc|c\+\+|clang|tcc|ld|as|make|cargo|curl|wget)[\d.-]*")
    assert [name for name in found["commands"] if unwanted.fullmatch(name)] == []
    modules = python(
        spec, "import importlib.util as u; print([m for m in ('pip', 'uv', 'setuptools', 'ensurepip', 'pytest') if u.find_spec(m)])"
    )
    assert modules == "[]"


@every_job
def test_the_app_has_one_command_no_shell_script_and_only_locked_packages(spec: JobSpec) -> None:
    code = """
import json, os, pathlib, importlib.metadata as m
bins = sorted(p.name for p in pathlib.Path("/app/bin").iterdir())
first = {str(p): p.read_bytes()[:32].split(b"\\n")[0] for p in pathlib.Path("/app").rglob("*") if p.is_file()}
scripts = [path for path, line in first.items() if line.startswith(b"#!") and line.endswith(b"sh")]
print(json.dumps([bins, scripts, sorted(d.name for d in m.distributions() if str(d.locate_file("")).startswith("/app"))]))
"""
    bins, scripts, installed = json.loads(python(spec, code))
    assert [name for name in bins if not name.startswith("python")] == sorted(["job", spec.name])
    assert scripts == []
    locked = lock.prune_lock((REPOSITORY / "uv.lock").read_text(), spec.name)
    assert {name.lower().replace("_", "-").replace(".", "-") for name in installed} <= set(
        re.findall(r'^name = "(.+)"$', locked, re.MULTILINE)
    )
    assert {"jobkit", spec.name} <= set(installed)


@every_job
def test_every_module_of_the_job_can_be_imported_from_its_bytecode(spec: JobSpec) -> None:
    """The removed files are not needed."""
    code = f"""
import importlib, pkgutil, pathlib
import {spec.package}, jobkit
for package in ({spec.package}, jobkit):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith((".__main__", ".parse")):
            module = importlib.import_module(found.name)
            flags = pathlib.Path(module.__cached__).read_bytes()[4:8]
            assert flags == bytes([1, 0, 0, 0]), (module.__cached__, flags)
"""
    optional = ("arro3", "backports", "httpcore2", "httpx2", "yaml", "msgspec", "boto3", "stamina")
    try:
        python(spec, code)
    except EngineError as error:  # a module of jobkit whose extra the job does not declare
        missing = re.search(r"No module named '([\w.]+)'", str(error))
        if not missing or missing[1].split(".")[0] not in optional or spec in EXTRACTS:
            raise


def test_two_builds_of_the_same_files_give_the_same_layers_and_leave_no_certificate(tmp_path: Path) -> None:
    """Other certificates change no layer, and none of them stays in the image."""
    bundle = tmp_path / "ca.pem"
    own = build_environment().ca
    bundle.write_text(f"{own.read_text() if own else ''}\n# {CANARY}\n")
    for name in ("extract-ecb-fx-rates", "transform-warehouse"):
        spec = next(spec for spec in SPECS if spec.name == name)
        first = layers(image(spec))
        again = docker_cli.build_image(spec, replace(build_environment(), ca=bundle if own else None), rebuild=True)
        assert layers(again) == first
        assert CANARY.encode() not in saved(again)


def saved(name: str) -> bytes:
    """Return what a registry would receive: the configuration and every layer."""
    return subprocess.run([docker_cli.find_client(), "save", name], capture_output=True, check=True).stdout


def test_a_build_by_hand_from_the_repository_gives_the_same_layers() -> None:
    """The recipe's .dockerignore and the build context select the same files."""
    spec = SPECS[0]
    planned = docker_cli.plan_image(spec, build_environment())
    given = [word for name, value in planned.args.items() for word in ("--build-arg", f"{name}={value}")]
    given += ["--network", build_environment().network] if build_environment().network else []
    given += ["--secret", f"id=ca,src={build_environment().ca}"] if build_environment().ca else []
    command = [docker_cli.find_client(), "build", "--quiet", "--file", str(REPOSITORY / plan.RECIPE), *given, str(REPOSITORY)]
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True, check=True)
    assert layers(done.stdout.strip()) == layers(image(spec))


def test_extract_jobs_share_all_layers_but_their_own() -> None:
    """The exception is extract-dropped-files, which has libraries to read Excel and check identifiers."""
    stacks = {spec.name: layers(image(spec)) for spec in EXTRACTS}
    assert len({stack[0] for stack in stacks.values()}) == 1
    assert len({tuple(stack[-2:]) for stack in stacks.values()}) == len(EXTRACTS)
    del stacks["extract-dropped-files"]
    assert len({tuple(stack[:-2]) for stack in stacks.values()}) == 1


@every_job
def test_no_secret_is_in_the_image_or_its_history(spec: JobSpec) -> None:
    """Neither a credential of the builder nor a file with one."""
    told = json.dumps(inspected(spec)) + docker_cli.docker("history", "--no-trunc", image(spec))
    assert not re.search(r"(AWS_|SECRET|TOKEN|PASSWORD)[A-Z_]*=|BEGIN [A-Z ]*PRIVATE KEY|AKIA[A-Z0-9]{16}", told)
    names = (".env", "id_rsa", ".netrc", ".pypirc", "ca.pem")
    code = f"import pathlib; print([str(path) for path in pathlib.Path('/').rglob('*') if path.name in {names}])"
    assert python(spec, code, "--user", "0") == "[]"
    assert python(spec, "import os; print(os.path.exists('/run/secrets/ca'))") == "False"


@every_job
def test_the_image_is_within_its_size_budget(spec: JobSpec) -> None:
    """`scripts/images size` measures the start time, which needs an idle machine."""
    assert size.measure_bytes_over_base(
        image(spec), docker_cli.plan_image(spec, build_environment()).args["PYTHON_IMAGE"]
    ) <= size.budget_bytes(spec.name)


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
        command = [docker_cli.find_client(), "run", *HARDENED, *flags, image(spec), "run", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    try:
        assert (done.returncode, done.stdout == "") == (code, code == 137)
        assert docker_cli.docker("inspect", "--format", "{{.State.OOMKilled}}", name) == is_killed
    finally:
        docker_cli.docker("rm", "--force", name)
    assert [path for path in lake.rglob("*") if path.is_file()] == []


def test_push_returns_the_registrys_digest() -> None:
    spec = SPECS[0]
    with run_registry() as (address, contents):
        reference = docker_cli.push_image(image(spec), f"{address}/finelt/{spec.name}")
        docker_cli.docker("image", "rm", f"{address}/finelt/{spec.name}:{image(spec).rpartition(':')[2]}")
    name, _, digest = reference.partition("@")
    assert name == f"{address}/finelt/{spec.name}"
    manifest = json.loads(contents.manifests[digest])
    assert len(manifest["layers"]) == len(layers(image(spec)))
    assert {layer["digest"] for layer in manifest["layers"]} <= set(contents.blobs)


# A pipeline in containers.


@cache
def stand_ins() -> str:
    """Return the image of Postgres and an S3 server."""
    return base.ensure_stand_ins(build_environment())


@cache
def vendors() -> str:
    """Return the image of the sample vendors."""
    return docker_cli.build_image(next(service for service in plan.SERVICES if service.name == "sample-vendors"), build_environment())


REACH = """
import socket, sys, time
deadline = time.monotonic() + 30
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except OSError:
        if time.monotonic() > deadline:
            sys.exit(f"no server listens at {sys.argv[1:]}")
        time.sleep(0.1)
"""
S3 = """
import boto3, json, sys
s3 = boto3.client("s3")
if sys.argv[1] == "make":
    s3.create_bucket(Bucket="finelt", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    header = "position_date,custodian,account,isin,quantity,price,market_value,currency"
    rows = f"{header}\\n2012-12-03,Bank,A1,US0378331005,10,1,10,USD\\n"
    s3.put_object(Bucket="finelt", Key="drop/custodian_positions/bank.csv", Body=rows)
else:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="finelt")
    print(json.dumps([found["Key"] for page in pages for found in page.get("Contents", [])]))
"""


@dataclass(frozen=True)
class Network:
    """A private network with Postgres, an S3 server and the sample vendors, isolated from the outside."""

    name: str
    password: Path

    def start(self, host: str, image: str, *words: str, flags: Sequence[str] = ()) -> None:
        """Start a host."""
        attached = ["--network", self.name, "--network-alias", host, "--name", f"{self.name}-{host}", "--detach"]
        docker_cli.docker("run", *attached, *HARDENED, *flags, image, *words)

    def run_python(self, host: str, *words: str) -> str:
        """Run a Python program on a host and return its output."""
        return docker_cli.docker("exec", *AWS, f"{self.name}-{host}", "/app/bin/python", "-c", *words)

    def run(self, name: str, *words: str) -> dict[str, Any]:
        """Run a job and return its receipt. Its container shares the network of the vendors, which listen on loopback only."""
        spec = next(spec for spec in SPECS if spec.name == name)
        values = {
            "lake": "s3://finelt/lake",
            "site": "s3://finelt/site",
            "docs": "s3://finelt/docs",
            "drop": "s3://finelt/drop",
            "warehouse": "postgresql://finelt@postgres:5432/finelt",
            "warehouse-password": "file:///password",
            "start": "2012-12-03",
            "end": "2012-12-31",
            "tickers": "AAPL",
            "ciks": "320193",
            "contact": "Example Ltd admin@example.com",
            "token": "file:///password",
            "requests-per-minute": "1000000",
            "requests-per-hour": "1000000",
            "base-url": f"http://127.0.0.1:8000/{spec.hosts[0]}" if spec.hosts else "",
        }
        options = {option.replace("_", "-") for option in described_here(spec)["options"]["properties"]}
        given = [word for option, value in values.items() if option in options for word in (f"--{option}", value)]
        flags = ["--network", f"container:{self.name}-vendors", "--volume", f"{self.password}:/password:ro", *AWS]
        result = run(spec, "run", *given, *words, flags=flags)
        assert result.code == 0, result.stderr[-3000:] + result.stdout
        return result.receipt


AWS = [
    word
    for setting in ("ENDPOINT_URL=http://s3:5000", "ACCESS_KEY_ID=test", "SECRET_ACCESS_KEY=test", "DEFAULT_REGION=eu-central-1")
    for word in ("--env", f"AWS_{setting}")
]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Create the network; yield it when its hosts accept connections."""
    network = Network(f"finelt-test-{secrets.token_hex(4)}", tmp_path / "password")
    network.password.write_text(secrets.token_urlsafe(16))
    network.password.chmod(0o644)
    docker_cli.docker("network", "create", "--internal", network.name)
    try:
        given = {"USER": "finelt", "PASSWORD": network.password.read_text(), "DB": "finelt"}
        flags = [word for name, value in given.items() for word in ("--env", f"POSTGRES_{name}={value}")]
        network.start("postgres", stand_ins(), "python", "-m", "verification.stand_ins", flags=["--user", "nobody", *flags])
        network.start("s3", stand_ins(), "python", "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000")  # noqa: S104
        network.start("vendors", vendors(), "python", "verification/sample_vendors", "--port", "8000")
        for host, port in (("postgres", "5432"), ("s3", "5000")):
            network.run_python("vendors", REACH, host, port)
        network.run_python("vendors", REACH, "127.0.0.1", "8000")
        network.run_python("s3", S3, "make")
        yield network
    finally:
        for host in ("postgres", "s3", "vendors"):
            subprocess.run([docker_cli.find_client(), "rm", "--force", f"{network.name}-{host}"], capture_output=True, check=False)
        subprocess.run([docker_cli.find_client(), "network", "rm", network.name], capture_output=True, check=False)


def test_vendors_become_published_marts_through_containers_alone(network: Network) -> None:
    for spec in EXTRACTS:
        assert network.run(spec.name)["status"] == "done", spec.name
    loaded = network.run("load-warehouse")
    assert loaded["committed"] > len(EXTRACTS)
    assert network.run("transform-warehouse")["status"] == "done"
    published = network.run("publish-marts")
    assert published["status"] == "done"
    keys = json.loads(network.run_python("s3", S3, "list"))
    assert any(key.startswith("site/") and key.endswith("index.html") for key in keys)
    assert [key for key in keys if key.startswith("docs/")] == ["docs/index.html"]
    assert [key for key in keys if key.startswith("drop/")] == ["drop/accepted/custodian_positions/bank.csv"]
    assert any(key.startswith("site/") and key.endswith(".parquet") for key in keys)
    for name in ("extract-sec-filers", "load-warehouse", "transform-warehouse", "publish-marts"):
        assert network.run(name)["status"] == "unchanged", name
