"""What goes into the images and what they are called. No Docker: the builds themselves are in test_images.py."""

from __future__ import annotations

import json
import os
import py_compile
import stat
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from images import __main__ as command
from images import assemble, docker_cli, harden, lock, plan, size
from images.base import debian
from images.docker_cli import EngineError, Surroundings
from jobs.catalogue import REPOSITORY, JobSpec, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

SPECS = catalogue()
CHECKOUT = plan.checkout()
EXTRACTS = [spec.name for spec in SPECS if spec.name.startswith("extract-")]
every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def named(name: str) -> JobSpec:
    return next(spec for spec in SPECS if spec.name == name)


def edited(path: str, content: bytes = b"# another line\n") -> plan.Tree:
    return {**CHECKOUT, path: CHECKOUT.get(path, b"") + content}


def changed(after: plan.Tree) -> list[str]:
    return plan.changed(SPECS, CHECKOUT, after)


def bumped(package: str) -> plan.Tree:
    """A lock in which one package has another version."""
    text = CHECKOUT["uv.lock"].decode()
    assert f'name = "{package}"\nversion = "' in text
    return {**CHECKOUT, "uv.lock": text.replace(f'name = "{package}"\nversion = "', f'name = "{package}"\nversion = "9', 1).encode()}


@every_job
def test_a_tag_is_the_same_each_time_and_no_other_job_has_it(spec: JobSpec) -> None:
    tag = plan.plan(spec, plan.checkout()).tag
    assert tag == plan.plan(spec, CHECKOUT).tag
    assert [other.name for other in SPECS if plan.plan(other, CHECKOUT).tag == tag] == [spec.name]


def test_nothing_changed_is_no_image() -> None:
    assert changed(CHECKOUT) == []


@every_job
def test_a_job_s_own_file_changes_its_image_alone(spec: JobSpec) -> None:
    assert changed(edited(f"jobs/{spec.name}/{spec.package}/__main__.py")) == [spec.name]
    assert changed(edited(f"jobs/{spec.name}/{spec.package}/new.py")) == [spec.name]


@pytest.mark.parametrize("path", ["jobs/jobkit/jobkit/http.py", *plan.RECIPE_FILES])
def test_jobkit_and_the_recipe_change_every_image(path: str) -> None:
    assert changed(edited(path)) == [spec.name for spec in SPECS]


def test_a_locked_package_changes_the_images_that_have_it() -> None:
    assert changed(bumped("click")) == [spec.name for spec in SPECS]
    assert changed(bumped("httpx2")) == EXTRACTS
    assert changed(bumped("pandas")) == ["publish-marts"]
    assert changed(bumped("dbt-core")) == ["transform-warehouse"]
    assert changed(bumped("prefect")) == changed(bumped("pytest")) == []


def test_the_dbt_project_changes_the_image_that_runs_it() -> None:
    assert changed(edited("dbt/dbt_project.yml")) == ["transform-warehouse"]


def test_tools_tests_and_a_new_job_change_no_image() -> None:
    assert changed(edited("pyproject.toml", b"\n[tool.made-up]\nx = 1\n")) == []
    new_member = CHECKOUT["uv.lock"].replace(b"members = [\n", b'members = [\n    "a-new-job",\n')
    assert new_member != CHECKOUT["uv.lock"]
    assert changed({**CHECKOUT, "uv.lock": new_member}) == []


def test_the_base_and_the_platform_are_in_the_tag() -> None:
    spec = SPECS[0]
    tags = {
        plan.plan(spec, CHECKOUT).tag,
        plan.plan(spec, CHECKOUT, python_image="mirror.example/python@sha256:0").tag,
        plan.plan(spec, CHECKOUT, platform="linux/arm64").tag,
    }
    assert len(tags) == 3


def test_the_build_sees_no_test_no_hidden_file_and_nothing_derived(tmp_path: Path) -> None:
    """Neither does it see a secret somebody keeps beside the code."""
    for name in ("jobs/a/tests/test_a.py", "jobs/a/.env", "jobs/a/a/__pycache__/x.pyc", "dbt/target/m.json", "dbt/logs/dbt.log", ".env"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name in ("jobs/a/a/x.py", "dbt/tests/t.sql", "pyproject.toml", "uv.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert sorted(plan.checkout(tmp_path)) == ["dbt/tests/t.sql", "jobs/a/a/x.py", "pyproject.toml", "uv.lock"]


@every_job
def test_a_context_holds_the_job_jobkit_and_the_recipe(spec: JobSpec, tmp_path: Path) -> None:
    planned = plan.plan(spec, CHECKOUT)
    planned.stage(tmp_path)
    folders = {"/".join(path.split("/")[:2]) for path in planned.files if path.startswith("jobs/")}
    assert folders == {"jobs/jobkit", f"jobs/{spec.name}"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o644}
    assert (tmp_path / "dbt").exists() == (planned.target == "dbt")


def test_the_recipe_pulls_no_syntax_and_pins_its_base_by_digest() -> None:
    recipe = CHECKOUT[plan.RECIPE].decode()
    assert "syntax=" not in recipe
    name, _, digest = plan.default_image(CHECKOUT).partition("@sha256:")
    assert name.startswith("python:3.13")
    assert len(digest) == 64


@every_job
def test_every_package_a_job_needs_comes_as_a_wheel(spec: JobSpec) -> None:
    """There is no compiler where images are built."""
    packages = tomllib.loads(lock.pruned(CHECKOUT["uv.lock"].decode(), spec.name))["package"]
    never = {"name": "pyarrow", "marker": "sys_platform == 'never'"}  # pgpq asks for it and does without
    assert all(never in package["dependencies"] for package in packages if package["name"] == "pgpq")
    bare = [package["name"] for package in packages if "registry" in package["source"] and not package.get("wheels")]
    assert [name for name in bare if name != "pyarrow"] == []


@every_job
def test_the_lock_knows_what_the_job_declares(spec: JobSpec) -> None:
    """Otherwise its image lacks what its code imports; run `uv lock`."""
    packages = tomllib.loads(CHECKOUT["uv.lock"].decode())["package"]
    (locked,) = (package["metadata"]["requires-dist"] for package in packages if package["name"] == spec.name)
    declared = tomllib.loads(CHECKOUT[f"jobs/{spec.name}/pyproject.toml"].decode())["project"]["dependencies"]
    assert sorted((entry["name"], tuple(sorted(entry.get("extras", [])))) for entry in locked) == sorted(map(lock.requirement, declared))


def test_a_pruned_lock_holds_an_extra_only_for_who_asks() -> None:
    whole = CHECKOUT["uv.lock"].decode()
    bare, lake = (tomllib.loads(lock.pruned(whole, wanted)) for wanted in ("jobkit", "jobkit[lake]"))
    assert {package["name"] for package in bare["package"]} >= {"click", "jobkit", "finelt"}
    assert "boto3" not in {package["name"] for package in bare["package"]}
    assert "boto3" in {package["name"] for package in lake["package"]}
    assert "httpx2" not in {package["name"] for package in lake["package"]}
    assert lake["manifest"]["members"] == ["finelt", "jobkit"]


def test_pruning_twice_is_pruning_once() -> None:
    once = lock.pruned(CHECKOUT["uv.lock"].decode(), "load-warehouse")
    assert lock.pruned(once, "jobkit[lake]") == lock.pruned(CHECKOUT["uv.lock"].decode(), "jobkit[lake]")


def test_a_package_the_lock_does_not_know_is_told() -> None:
    with pytest.raises(lock.LockError, match="no package 'made-up'"):
        lock.pruned(CHECKOUT["uv.lock"].decode(), "made-up")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jobkit", ("jobkit", ())),
        ("jobkit[]", ("jobkit", ())),
        ("jobkit[s3 , lake]>=1; python_version < '3.14'", ("jobkit", ("lake", "s3"))),
        ("Job_Kit>=1,<2", ("job-kit", ())),
    ],
)
def test_a_requirement_has_a_name_and_extras(text: str, told: tuple[str, tuple[str, ...]]) -> None:
    assert lock.requirement(text) == told


def test_a_job_that_is_missing_in_the_lock_is_told() -> None:
    with pytest.raises(plan.PlanError, match=r"no package 'made-up'.*uv lock"):
        plan.plan(replace(SPECS[0], name="made-up"), {**CHECKOUT, "jobs/made-up/pyproject.toml": b""})


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., None]:
    """Runs git in a repository at tmp_path that holds this checkout in one commit."""

    def git(*words: str) -> None:
        identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        subprocess.run(["git", "-C", tmp_path, *words], env={**os.environ, **identity}, capture_output=True, check=True)

    for name, content in CHECKOUT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "jobs/load-warehouse/tests").mkdir()
    (tmp_path / "jobs/load-warehouse/tests/test_it.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    return git


def test_changed_compares_the_checkout_with_a_commit(repository: Callable[..., None], tmp_path: Path) -> None:
    before = plan.revision("HEAD", tmp_path)
    assert plan.changed(SPECS, before, plan.checkout(tmp_path)) == []
    (tmp_path / "jobs/load-warehouse/tests/test_it.py").write_text("# a test is in no image")
    (tmp_path / "jobs/load-warehouse/load_warehouse/new.py").write_text("")
    assert plan.changed(SPECS, before, plan.checkout(tmp_path)) == ["load-warehouse"]
    repository("commit", "-qam", "more")
    assert plan.changed(SPECS, plan.revision("HEAD~1", tmp_path), plan.checkout(tmp_path)) == ["load-warehouse"]


def test_everything_changed_since_before_there_was_anything(repository: Callable[..., None], tmp_path: Path) -> None:
    repository("rm", "-rqf", ".")
    (tmp_path / "README.md").write_text("x")
    repository("add", "README.md")
    repository("commit", "-qm", "none")
    assert plan.changed(SPECS, plan.revision("HEAD", tmp_path), CHECKOUT) == [spec.name for spec in SPECS]


def test_a_commit_git_does_not_know_is_told() -> None:
    with pytest.raises(plan.PlanError, match="name a commit"):
        plan.revision("no-such-commit")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An environment as uv leaves it."""
    site = tmp_path / "app/lib/python3.11/site-packages"
    for name in (
        "botocore/data/s3/2006-03-01/service-2.json",
        "botocore/data/ec2/2016-11-15/service-2.json",
        "botocore/data/endpoints.json",
        "babel/locale-data/en_US.dat",
        "babel/locale-data/de.dat",
        "pandas/core.py",
        "pandas/tests/__init__.py",
        "pandas/core.pyi",
        "dbt/include/tests/generic/unique.sql",
        "pandas-1.dist-info/direct_url.json",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("")
    (site / "pandas-1.dist-info/RECORD").write_text("pandas/core.py,,\npandas/core.pyi,,\n../../../bin/httpx,,\n")
    for name in ("python", "extract-it", "httpx", "activate"):
        (tmp_path / "app/bin").mkdir(exist_ok=True)
        (tmp_path / "app/bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "app/bin" / name).chmod(0o755)
    return tmp_path / "app"


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_a_layer_holds_what_a_job_needs_and_no_more(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    root = tmp_path / "layers/job" / app.relative_to("/")
    site = root / "lib/python3.11/site-packages"
    assert files(root / "bin") == {"python", "extract-it", "job"}
    assert (root / "bin/job").readlink().name == "extract-it"
    assemble.main(app, tmp_path / "layers", "rest", "extract-it")
    beside = tmp_path / "layers/rest" / app.relative_to("/") / "lib/python3.11/site-packages"
    assert {path for path in files(site) | files(beside) if "__pycache__" not in path} == {
        "botocore/data/s3/2006-03-01/service-2.json",
        "botocore/data/endpoints.json",
        "babel/locale-data/en_US.dat",
        "pandas/core.py",
        "dbt/include/tests/generic/unique.sql",
        "pandas-1.dist-info/RECORD",
    }
    assert (beside / "pandas-1.dist-info/RECORD").read_text() == "pandas/core.py,,\n"


def test_bytecode_is_there_and_never_compared_with_its_source(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "job")
    (bytecode,) = (tmp_path / "layers").rglob("core.*.pyc")
    assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == 0b01  # PEP 552: hash-based, unchecked


def test_a_layer_has_one_time_stamp_and_can_be_read_by_all(app: Path, tmp_path: Path) -> None:
    (app / "lib/python3.11/site-packages/pandas/core.py").chmod(0o600)
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    below = list((tmp_path / "layers/job").rglob("*"))
    assert {path.lstat().st_mtime for path in below} == {assemble.EPOCH}
    assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_file()} == {0o644, 0o755}
    assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_dir()} == {0o755}


def test_a_later_layer_holds_only_what_is_new(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "runtime")
    (app / "new.txt").write_text("x")
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    waited = "lib/python3.11/site-packages/pandas-1.dist-info/RECORD"
    assert files(tmp_path / "layers/job" / app.relative_to("/")) == {"new.txt", waited}
    assemble.main(app, tmp_path / "layers", "nothing", "extract-it")
    assert files(tmp_path / "layers/nothing") == set()


def test_the_files_of_a_layer_have_one_order_by_path_and_by_folder(app: Path, tmp_path: Path) -> None:
    """Engines list them now one way and now the other, and the order is part of a layer's digest."""
    for name in ("pandas.libs/a.so", "pandas/io/b.py", "pandas/io.py", "pandas-extra/c.py"):
        path = app / "lib/python3.11/site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    names, layers = ("runtime", "job", "rest"), tmp_path / "layers"
    for name in names:
        assemble.main(app, layers, name)
        paths = [path.relative_to(layers / name) for path in (layers / name).rglob("*")]
        assert sorted(paths, key=lambda path: path.parts) == sorted(paths, key=lambda path: path.as_posix()), name
    inside = [files(layers / name / app.relative_to("/")) for name in names]
    assert set().union(*inside) == files(app)
    assert sum(map(len, inside)) == len(files(app))


def test_a_hardened_base_has_no_installer_and_nothing_that_runs_as_another(tmp_path: Path) -> None:
    library = tmp_path / "usr/local/lib/python3.13"
    for name in (
        "usr/local/lib/python3.13/json/__init__.py",
        "usr/local/lib/python3.13/ensurepip/__init__.py",
        "usr/local/lib/python3.13/idlelib/idle.py",
        "usr/local/lib/python3.13/site-packages/pip/__init__.py",
        "usr/local/lib/python3.13/site-packages/pip-25.dist-info/RECORD",
        "usr/local/lib/python3.13/site-packages/mine.py",
        "usr/local/bin/pip3.13",
        "usr/lib/python3/dist-packages/setuptools/__init__.py",
        "usr/bin/su",
        "usr/bin/env",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "usr/bin/su").chmod(0o4755)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.utime(path, (1, 1))
    harden.harden(tmp_path, library)
    assert {path for path in files(tmp_path) if "__pycache__" not in path} == {
        "usr/local/lib/python3.13/json/__init__.py",
        "usr/local/lib/python3.13/idlelib/idle.py",
        "usr/local/lib/python3.13/site-packages/mine.py",
        "usr/bin/su",
        "usr/bin/env",
    }
    assert stat.S_IMODE((tmp_path / "usr/bin/su").stat().st_mode) == 0o755
    assert {path.parent.parent.name for path in tmp_path.rglob("*.pyc")} == {"json"}
    assert {path.stat().st_mtime for path in tmp_path.rglob("*")} == {1, harden.EPOCH}


def test_bytecode_the_base_has_is_kept_and_what_it_lacks_is_added(tmp_path: Path) -> None:
    """The official images have that of the few modules somebody imported while they were made."""
    for name in ("a.py", "b.py", "c/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    there = Path(py_compile.compile(str(tmp_path / "a.py")) or "")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        if path.name != "a.py":
            os.utime(path, (1, 1))
    harden.compile_library(tmp_path, tmp_path)
    added = set(tmp_path.rglob("*.pyc")) - {there}
    assert sorted(path.name.partition(".")[0] for path in added) == ["__init__", "b"]
    assert {path.stat().st_mtime for path in added} == {harden.EPOCH}
    assert there.stat().st_mtime == there.parent.stat().st_mtime == tmp_path.stat().st_mtime == 1


DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'


def test_a_base_is_made_of_this_machine_s_debian_release() -> None:
    assert debian(DEBIAN_12) == "bookworm"


@pytest.mark.parametrize(
    "system", ["ID=fedora\n", 'ID=ubuntu\nVERSION_CODENAME=noble\nPRETTY_NAME="Ubuntu 24.04"', "ID=debian\nVERSION_CODENAME=bullseye"]
)
def test_no_base_is_made_elsewhere(system: str) -> None:
    with pytest.raises(EngineError, match=r"Debian 12 or later.*FINELT_PYTHON_IMAGE"):
        debian(system)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes docker commands that answer as wanted, the first one first on PATH."""
    docker_cli.client.cache_clear()
    monkeypatch.setenv("PATH", "")

    def make(name: str, version: str, *, buildx: bool) -> Path:
        path = tmp_path / name / "docker"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n[ $1 = version ] && echo {version} && exit\n[ $1 = buildx ] && exit {0 if buildx else 1}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{path.parent}".strip(":"))
        return path

    return make


@pytest.fixture(autouse=True)
def _forget_the_client() -> None:
    docker_cli.client.cache_clear()


def test_a_docker_command_that_cannot_build_is_passed_over(programs: Callable[..., Path]) -> None:
    programs("a", "28.2.2", buildx=False)
    old = programs("b", "20.10.24+dfsg1", buildx=False)
    assert docker_cli.client() == str(old)


def test_a_docker_command_with_its_plugin_is_taken(programs: Callable[..., Path]) -> None:
    new = programs("a", "28.2.2", buildx=True)
    programs("b", "20.10.24+dfsg1", buildx=False)
    assert docker_cli.client() == str(new)


def test_no_docker_command_and_none_that_builds_are_told(programs: Callable[..., Path]) -> None:
    with pytest.raises(EngineError, match="no docker command"):
        docker_cli.client()
    programs("a", "28.2.2", buildx=False)
    with pytest.raises(EngineError, match="docker-buildx"):
        docker_cli.client()


def test_surroundings_come_from_the_environment() -> None:
    assert Surroundings.of({}) == Surroundings()
    here = Surroundings.of(
        {"FINELT_PYTHON_IMAGE": "p", "SSL_CERT_FILE": "/c", "FINELT_BUILD_NETWORK": "host", "FINELT_PLATFORM": "linux/arm64"}
    )
    assert (here.python_image, str(here.ca), here.network, here.platform) == ("p", "/c", "host", "linux/arm64")


@every_job
def test_every_job_has_a_budget_and_is_told_when_it_is_over(spec: JobSpec) -> None:
    good = size.Measured(spec.name, size_bytes=1, describe_s=0.4, own_cpu_s=0.09)
    assert good.excesses == []
    assert "are allowed" in replace(good, size_bytes=size.budget_bytes(good.job) + 1).excesses[0]
    assert "describe in a container" in replace(good, describe_s=0.51).excesses[0]
    assert "work for describe" in replace(good, own_cpu_s=0.11).excesses[0]


def test_changed_prints_json_for_a_matrix() -> None:
    told = CliRunner().invoke(command.images, ["changed", "--since", "HEAD"])
    assert set(json.loads(told.stdout)) <= {spec.name for spec in (*SPECS, *plan.SERVICES)}


def test_a_name_that_is_no_job_is_a_usage_error() -> None:
    told = CliRunner().invoke(command.images, ["build", "made-up"])
    assert told.exit_code == 2
    assert "nothing is called 'made-up'" in told.stderr


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "images", "changed", "--since", "no-such-commit"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("images: git ")
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "images", "list"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


SERVICES = pytest.mark.parametrize("service", [*plan.SERVICES, plan.STAND_INS], ids=lambda service: service.name)


@SERVICES
def test_a_service_is_made_of_its_source_its_group_and_the_recipe(service: plan.Service, tmp_path: Path) -> None:
    planned = plan.plan(service, CHECKOUT)
    planned.stage(tmp_path)
    source = [path for path in planned.files if path.startswith("source/")]
    assert source
    assert set(planned.files) == {*source, *plan.RECIPE_FILES, *plan.TOP_FILES}
    assert not [path for path in source if "/tests/" in path]
    groups = tomllib.loads(planned.files["pyproject.toml"].decode())["dependency-groups"]
    assert list(groups) == [service.group]
    assert all(isinstance(requirement, str) for requirement in groups[service.group])


def test_a_service_changes_with_its_source_and_no_other_image_does() -> None:
    everything = (*SPECS, *plan.SERVICES)
    assert plan.changed(everything, CHECKOUT, edited("orchestration/flows/daily.py")) == ["orchestration"]
    assert plan.changed(everything, CHECKOUT, edited("verification/sample_vendors/ecb.py")) == ["sample-vendors"]
    assert "orchestration" in plan.changed(everything, CHECKOUT, edited("jobs/jobkit/jobkit/launchers/prefect.py"))
