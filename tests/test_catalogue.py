"""The catalogue: each job folder registers itself, and a wrong declaration is one sentence with the fix."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from jobs.catalogue import FARGATE, REPOSITORY, CatalogueError, catalogue, schedule_problem

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """
[project]
name = "{name}"
version = "1.2.3"
description = "Moves things."
[project.scripts]
{name} = "{name}.__main__:main"
"""
DECLARED = """
[tool.finelt]
cpu = 256
memory = 512
deadline_s = 600
"""


def job(jobs: Path, name: str = "extract-things", declared: str = DECLARED, project: str = PROJECT) -> None:
    folder = jobs / name
    folder.mkdir()
    (folder / "pyproject.toml").write_text(project.format(name=name) + declared)


def test_each_folder_with_a_command_is_a_job_and_jobkit_is_not() -> None:
    specs = catalogue()
    assert [spec.name for spec in specs] == sorted(spec.name for spec in specs)
    assert all(spec.folder.name == spec.name and (spec.folder / spec.package).is_dir() for spec in specs)
    assert {"extract-ecb-fx-rates", "load-warehouse", "transform-warehouse", "publish-marts"} <= {spec.name for spec in specs}
    assert "jobkit" not in {spec.name for spec in specs}


def test_every_key_of_a_declaration_is_read(tmp_path: Path) -> None:
    more = 'concurrency = 2\nschedule = "0 17 * * 1-5"\ntimezone = "Europe/Berlin"\n'
    more += 'hosts = ["a.example"]\nsecrets = ["token"]\nwrites = ["raw/things"]\n'
    job(tmp_path, declared=DECLARED + more)
    (spec,) = catalogue(tmp_path)
    assert (spec.name, spec.package, spec.description) == ("extract-things", "extract_things", "Moves things.")
    assert (spec.cpu, spec.memory, spec.schedule, spec.timezone) == (256, 512, "0 17 * * 1-5", "Europe/Berlin")
    assert (spec.vendor, spec.concurrency) == ("things", 2)
    assert (spec.hosts, spec.secrets, spec.reads, spec.writes) == (("a.example",), ("token",), (), ("raw/things",))


def test_omitted_keys_have_defaults(tmp_path: Path) -> None:
    job(tmp_path)
    (spec,) = catalogue(tmp_path)
    assert (spec.schedule, spec.timezone, spec.hosts, spec.writes) == (None, "UTC", (), ())


def test_a_folder_without_a_command_is_not_a_job(tmp_path: Path) -> None:
    job(tmp_path, project='[project]\nname = "{name}"\n', declared="")
    assert catalogue(tmp_path) == ()


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("0 17 * * 1-5", None),
        ("*/5 9-17 1,15 JAN-MAR *", None),
        ("0 6 * * mon", None),
        ("61 25 * * *", "is not cron"),
        ("0 6 31 2 *", "is not cron"),
        ("0 6 * * 5L", "is not cron"),
        ("0 6 ? * 1", "is not cron"),
        ("1/5 * * * *", "is not cron"),
        ("0 6 * * 1 ", "is not cron"),
        ("@daily", "is not cron"),
        ("0 6 * * 7", "write 0"),
        ("0 6 * * 5-7", "write 0"),
        ("0 0 */2 * 1", "restrict one of them"),
    ],
)
def test_a_schedule_must_mean_the_same_in_every_scheduler(schedule: str, problem: str | None) -> None:
    actual = schedule_problem(schedule)
    assert actual is None if problem is None else problem in str(actual)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ("", r"extract-things: .* no table \[tool.finelt\]; add one"),
        ("[tool.finelt]\ncpu = 256\n", "extract-things: .* lacks 'memory'; Fargate's smallest"),
        ("[tool.finelt]\ncpu = 256\nmemory = 512\n", "extract-things: .* lacks 'deadline_s'; write after how many seconds"),
        (DECLARED.replace("600", "0"), "extract-things: deadline_s must be a number of seconds .* got 0"),
        (DECLARED.replace("600", "'900'"), "extract-things: deadline_s must be a number of seconds .* got '900'"),
        (DECLARED.replace("600", "604801"), "extract-things: deadline_s must be a number of seconds .* got 604801"),
        (DECLARED + "gpu = 1\n", "extract-things: .* no key 'gpu'; it takes concurrency, cpu, deadline_s, hosts"),
        ("[tool.finelt]\ncpu = 300\nmemory = 512\ndeadline_s = 600\n", "extract-things: .* no cpu = 300; choose one of 256, 512"),
        (
            "[tool.finelt]\ncpu = 256\nmemory = 4096\ndeadline_s = 600\n",
            r"extract-things: .* memory = 4096 with cpu = 256; choose one of 512, 1024, 2048 \(MiB\)",
        ),
        (DECLARED + 'schedule = "daily"\n', "extract-things: schedule = 'daily' is not cron; write five fields"),
        (DECLARED + 'schedule = "0 1 * * *"\ntimezone = "Berlin"\n', "extract-things: timezone = 'Berlin' is in no time zone database"),
        (DECLARED + 'hosts = "a.example"\n', "extract-things: hosts = 'a.example' is no list"),
        (DECLARED + 'hosts = ["https://a.example"]\n', "extract-things: hosts has 'https://a.example'"),
        (DECLARED + "concurrency = true\n", "extract-things: concurrency must be a positive integer, got True"),
        (DECLARED + "max_body_mib = 129\n", r"extract-things: max_body_mib must be an integer from 1 to 128 .*, got 129"),
        (DECLARED + "concurrency = 0\n", "extract-things: concurrency must be a positive integer, got 0"),
        (DECLARED + 'writes = ["things"]\n', "extract-things: writes has 'things'"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_job_and_the_fix(tmp_path: Path, declared: str, sentence: str) -> None:
    job(tmp_path, declared=declared)
    with pytest.raises(CatalogueError, match=sentence):
        catalogue(tmp_path)


def test_folder_project_and_command_have_the_same_name(tmp_path: Path) -> None:
    job(tmp_path, project=PROJECT.replace('name = "{name}"', 'name = "other"'))
    with pytest.raises(CatalogueError, match="extract-things: project.name and the one command"):
        catalogue(tmp_path)


def test_a_dataset_has_one_writer(tmp_path: Path) -> None:
    for name in ("extract-a", "extract-b"):
        job(tmp_path, name, DECLARED + 'writes = ["raw/things"]\n')
    with pytest.raises(CatalogueError, match="extract-b: both this job and extract-a write 'raw/things'"):
        catalogue(tmp_path)


def test_a_description_and_a_version_are_required(tmp_path: Path) -> None:
    job(tmp_path, project=PROJECT.replace('description = "Moves things."', ""))
    with pytest.raises(CatalogueError, match="extract-things: project.description is missing or empty"):
        catalogue(tmp_path)


def test_every_package_has_the_version_of_the_repository() -> None:
    """The release is one: pyproject.toml in the root has its version, and every job and jobkit repeat it."""
    paths = [REPOSITORY / "pyproject.toml", *REPOSITORY.glob("jobs/*/pyproject.toml")]
    versions = {str(path): tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"] for path in paths}
    assert len(versions) > len(catalogue())
    assert set(versions.values()) == {versions[str(REPOSITORY / "pyproject.toml")]}


def test_the_jobs_of_a_vendor_agree_on_its_limit(tmp_path: Path) -> None:
    job(tmp_path, "extract-sec-facts", DECLARED + "concurrency = 2\n")
    job(tmp_path, "extract-sec-filers")
    with pytest.raises(
        CatalogueError, match="extract-sec-filers: concurrency = None, but extract-sec-facts has 2 and calls the same vendor"
    ):
        catalogue(tmp_path)


def test_the_table_of_fargate_has_its_memory_steps() -> None:
    assert FARGATE[512] == (1024, 2048, 3072, 4096)
    assert (FARGATE[4096][0], FARGATE[4096][-1]) == (8192, 30720)
    assert (FARGATE[16384][0], FARGATE[16384][-1]) == (32768, 122880)
