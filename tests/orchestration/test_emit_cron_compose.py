"""The definitions for cron and Docker Compose, run or read on this machine."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml
from cronsim import CronSim

from orchestration.compose import command as compose_command
from tests.orchestration.emitted_definitions import ORDER, after, crontab, emit_one

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.docker
def test_docker_compose_accepts_the_file(emitted: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text(emitted["compose"])
    done = subprocess.run(
        [*compose_command.find_docker_compose(), "--file", path, "config"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {name: sorted(service.get("depends_on", {})) for name, service in services.items()} == after()
    assert {service["restart"] for service in services.values()} == {"no"}


def test_the_line_of_cron_is_due_as_the_catalogue_declares() -> None:
    variables, schedule, _ = crontab(emit_one("cron"))
    assert (variables["CRON_TZ"], schedule) == ("Europe/Berlin", "30 16 * * 1-5")
    assert next(CronSim(schedule, datetime(2024, 1, 5, 17, tzinfo=UTC))) == datetime(2024, 1, 8, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("codes", "ended", "started"),
    [
        ({}, 0, list(ORDER)),
        ({"extract-ecb-fx-rates": "75 75 0"}, 0, [*ORDER[:1] * 3, *ORDER[1:]]),
        ({"load-warehouse": "65"}, 65, list(ORDER[:3])),
        ({"load-warehouse": "75 75 75 75"}, 75, [*ORDER[:2], *ORDER[2:3] * 4]),
    ],
)
def test_the_line_of_cron_runs_jobs_in_sequence_and_retries_exit_code_75_only(
    emitted: dict[str, str], tmp_path: Path, codes: dict[str, str], ended: int, started: list[str]
) -> None:
    variables, _, command = crontab(emitted["cron"])
    programs = tmp_path / "bin"
    programs.mkdir()
    for job, told in codes.items():
        (tmp_path / job).write_text(told.replace(" ", "\n") + "\n")
    (programs / "docker").write_text(
        f"""#!/bin/sh
job=$(echo "$*" | sed 's|.* registry.example/finelt/\\([a-z-]*\\)@.*|\\1|')
echo "$job" >> {tmp_path}/started
[ -f "{tmp_path}/$job" ] || exit 0
code=$(head -1 "{tmp_path}/$job"); sed -i 1d "{tmp_path}/$job"; exit "$code"
"""
    )
    (programs / "sleep").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    environ = {**variables, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", "-c", command], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == ended, done.stderr
    assert (tmp_path / "started").read_text().split() == started
