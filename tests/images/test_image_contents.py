"""What an image contains: its user, programs, packages, bytecode and size, and no secret."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from images import docker_cli, lock, size
from images.docker_cli import EngineError
from jobs.catalogue import REPOSITORY
from tests.images.containers import EXTRACTS, build_environment, every_job, image, inspected, python

if TYPE_CHECKING:
    from jobs.catalogue import JobSpec

pytestmark = pytest.mark.docker


SECRET_FILES = (".env", "id_rsa", ".netrc", ".pypirc", "ca.pem")
INSPECT_AS_ROOT = f"""
import importlib.util, json, os, stat, sys
found = {{"setuid": [], "writable": [], "secret": [], "ca": os.path.exists("/run/secrets/ca")}}
for folder, names, files in os.walk("/"):
    names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/sys", "/dev")]
    for name in files:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            found["setuid"].append(os.path.join(folder, name))
        if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            found["writable"].append(os.path.join(folder, name))
    found["secret"] += [os.path.join(folder, name) for name in (*names, *files) if name in {SECRET_FILES}]
found["commands"] = sorted({{name for path in os.environ["PATH"].split(":") if os.path.isdir(path) for name in os.listdir(path)}})
found["modules"] = [name for name in ("pip", "uv", "setuptools", "ensurepip", "pytest") if importlib.util.find_spec(name)]
print(json.dumps(found))
"""
INSPECT_AS_JOB = """
import importlib.metadata, json, os, pathlib
found = {"user": [os.getuid(), os.getgid(), os.getgroups()], "written": []}
for path in ("/", "/app", "/app/bin", "/etc", "/usr/bin"):
    try: pathlib.Path(path, "x").write_text("x")
    except OSError: continue
    found["written"].append(path)
found["bins"] = sorted(path.name for path in pathlib.Path("/app/bin").iterdir())
first = {str(path): path.open("rb").read(32).split(b"\\n")[0] for path in pathlib.Path("/app").rglob("*") if path.is_file()}
found["scripts"] = [path for path, line in first.items() if line.startswith(b"#!") and line.endswith(b"sh")]
found["installed"] = sorted(one.name for one in importlib.metadata.distributions() if str(one.locate_file("")).startswith("/app"))
print(json.dumps(found))
"""


@cache
def seen_by_root(spec: JobSpec) -> dict[str, Any]:
    """Look at the image's files as root. One container for all tests: its start takes longer than a look."""
    return dict(json.loads(python(spec, INSPECT_AS_ROOT, "--user", "0")))


@cache
def seen_by_job(spec: JobSpec) -> dict[str, Any]:
    """Look at the image as the user of its job."""
    return dict(json.loads(python(spec, INSPECT_AS_JOB)))


@every_job
def test_the_job_runs_as_an_unprivileged_user_and_cannot_write_to_the_image(spec: JobSpec) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", inspected(spec)["Config"]["User"])
    seen = seen_by_job(spec)
    assert (seen["user"], seen["written"]) == ([65532, 65532, [65532]], [])


@every_job
def test_the_image_has_no_installer_compiler_or_setuid_program(spec: JobSpec) -> None:
    found = seen_by_root(spec)
    assert found["setuid"] == found["writable"] == []
    unwanted = re.compile(r"(pip|uv|uvx|wheel|easy_install|gcc|g\+\+|cc|c\+\+|clang|tcc|ld|as|make|cargo|curl|wget|node|npm|npx)[\d.-]*")
    assert [name for name in found["commands"] if unwanted.fullmatch(name)] == []
    assert found["modules"] == []


@every_job
def test_the_app_has_one_command_no_shell_script_and_only_locked_packages(spec: JobSpec) -> None:
    seen = seen_by_job(spec)
    assert [name for name in seen["bins"] if not name.startswith("python")] == sorted(["job", spec.name])
    assert seen["scripts"] == []
    locked = lock.prune_lock((REPOSITORY / "uv.lock").read_text(), spec.name)
    assert {name.lower().replace("_", "-").replace(".", "-") for name in seen["installed"]} <= set(
        re.findall(r'^name = "(.+)"$', locked, re.MULTILINE)
    )
    assert {"jobkit", spec.name} <= set(seen["installed"])


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


@every_job
def test_no_secret_is_in_the_image_or_its_history(spec: JobSpec) -> None:
    """Neither a credential of the builder nor a file with one."""
    told = json.dumps(inspected(spec)) + docker_cli.docker("history", "--no-trunc", image(spec))
    assert not re.search(r"(AWS_|SECRET|TOKEN|PASSWORD)[A-Z_]*=|BEGIN [A-Z ]*PRIVATE KEY|AKIA[A-Z0-9]{16}", told)
    found = seen_by_root(spec)
    assert (found["secret"], found["ca"]) == ([], False)


@every_job
def test_the_image_is_within_its_size_budget(spec: JobSpec) -> None:
    """`scripts/images size` measures the start time, which needs an idle machine."""
    assert size.measure_bytes_over_base(
        image(spec), docker_cli.plan_image(spec, build_environment()).args["PYTHON_IMAGE"]
    ) <= size.budget_bytes(spec.name)
