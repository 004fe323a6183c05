"""The whole pipeline in containers, on a network without a way out."""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from images import base, docker_cli, plan
from tests.images.containers import EXTRACTS, SPECS, build_environment, harden, run
from tests.orchestration.daily_jobs import ON_REQUEST
from tests.test_job_contract import describe as described_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.docker


@cache
def fallback_image() -> str:
    """Return the image of Postgres and an S3 server."""
    return base.ensure_fallback_image(build_environment())


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
        docker_cli.docker("run", *attached, *harden(512), *flags, image, *words)

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
            "series": "GDP",
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
        network.start("postgres", fallback_image(), "python", "-m", "verification.fallback_postgres", flags=["--user", "nobody", *flags])
        network.start("s3", fallback_image(), "python", "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000")  # noqa: S104
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
    extracts = [spec.name for spec in EXTRACTS if spec.name not in ON_REQUEST]
    for name in extracts:
        assert network.run(name)["status"] == "done", name
    loaded = network.run("load-warehouse")
    assert loaded["committed"] > len(extracts)
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
