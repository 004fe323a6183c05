"""What an image contains: its user, programs, packages, bytecode and size, and no secret."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from images import docker_cli, lock, size
from images.docker_cli import EngineError
from jobs.catalogue import REPOSITORY
from tests.images.containers import EXTRACTS, build_environment, every_job, image, inspected, python

if TYPE_CHECKING:
    from jobs.catalogue import JobSpec

pytestmark = pytest.mark.docker


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
    unwanted = re.compile(r"(pip|uv|uvx|wheel|easy_install|gcc|g\+\+|cc|c\+\+|clang|tcc|ld|as|make|cargo|curl|wget|node|npm|npx)[\d.-]*")
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
