"""What holds for the definitions of every scheduler: order, images, secrets, deadlines and errors."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from jobkit.interruption import MARGIN_S

from tests.orchestration.emitted_definitions import FX, IMAGE, IMAGES, LIMITS, ORDER, VALUES, after, crontab, emit, run, run_process

if TYPE_CHECKING:
    from pathlib import Path


def test_jobs_run_after_the_jobs_whose_data_they_read() -> None:
    assert after() == {
        "extract-ecb-fx-rates": [],
        "extract-tiingo-prices": [],
        "load-warehouse": ["extract-ecb-fx-rates", "extract-tiingo-prices"],
        "transform-warehouse": ["load-warehouse"],
        "publish-marts": ["transform-warehouse"],
    }


def test_every_definition_has_images_by_digest_and_secrets_by_reference(emitted: dict[str, str]) -> None:
    for target, text in emitted.items():
        if target != "stepfunctions":
            assert all(image in text for image in IMAGES.values()), target
        where = "secretsmanager://finelt-dev/" if target in ("batch", "stepfunctions") else "file:///run/secrets/"
        assert f"{where}warehouse/password" in text, target
        assert f"{where}extract-tiingo-prices/token" in text, target
    ast.parse(emitted["airflow"])


def test_the_command_as_a_process_prints_what_it_prints_in_tests() -> None:
    words = ("--target", "cron", "--set", "lake=/l", *IMAGE)
    for jobs in (FX, ("extract-nothing",)):
        expected, found = run(*words, *jobs), run_process(*words, *jobs)
        assert (found.returncode, found.stdout, found.stderr) == (expected.returncode, expected.stdout, expected.stderr)


def test_a_folder_of_the_machine_is_mounted_at_the_same_path() -> None:
    for target in ("airflow", "dagster", "compose", "cron"):
        text = emit(target, "--set", "lake=/srv/lake", jobs=("extract-ecb-fx-rates",))
        assert re.search(r"/srv/lake:/srv/lake|\"Source\": \"/srv/lake\"|\"/srv/lake\": {\"bind\": \"/srv/lake\"", text), target


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "cron", "--set", "lake=/l", *FX), "has no image"),
        (("--target", "cron", "--set", "lake=/l", "--image", f"{FX[0]}=r.example/x:1", *FX), "--allow-tag"),
        (("--target", "cron", *IMAGE, *FX), "needs a value for lake"),
        (("--target", "cron", "--set", "lake=l", *IMAGE, *FX), "absolute path"),
        (("--target", "cron", "--set", "colour=blue", *IMAGE, *FX), "'colour'"),
        (("--target", "k8s-cronjob", "--set", "lake=/l", *IMAGE, *FX), "is a path on one machine"),
        (("--target", "batch", "--set", "lake=s3://l", *IMAGE, *FX), "--stack"),
        (("--target", "cron", "extract-nothing"), "there is no job"),
        (("--target", "cron", "--set", "lake=/l", "--schedule", "daily", *IMAGE, *FX), "--schedule 'daily' is not cron"),
        (("--target", "dagster", "--set", "lake=/l", "--schedule", "", *IMAGE, *FX), "--schedule '' is not cron"),
        (("--target", "k8s-cronjob", "--set", "lake=s3://l", "--schedule", "0 6 * * 7", *IMAGE, *FX), "write 0"),
        (("--target", "airflow", "--set", "lake=/l", "--timezone", "Mars/Base", *IMAGE, *FX), "--timezone 'Mars/Base' is in no time zone"),
        (("--target", "argo", "--set", "lake=s3://l", "--name", "My Flow", *IMAGE, *FX), "--name 'My Flow' is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--secrets", "secrets", *IMAGE, *FX), "absolute path"),
        (("--target", "cron", "--set", "lake=/l", "--set", "start=1.2.2024", *IMAGE, *FX), "start=1.2.2024 is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "lookback_days=many", *IMAGE, *FX), "lookback_days=many is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "file=hourly", *IMAGE, *FX), "file=hourly is not valid"),
        (("--target", "cron", "--set", "lake=/l", "--set", "deadline=0", *IMAGE, *FX), "deadline=0 is not valid"),
        (
            ("--target", "cron", "--allow-tag", *VALUES, "--image", "load-warehouse=x", "load-warehouse"),
            "needs a schedule",
        ),
        (
            ("--target", "cron", "--allow-tag", *VALUES, *IMAGE, "--image", "extract-tiingo-prices=x", *FX, "extract-tiingo-prices"),
            "different schedules",
        ),
    ],
)
def test_an_error_is_one_line_with_exit_code_2(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["lake=s3://AKIA:{}@bucket", "base_url=https://h/?api_key={}", "extract-ecb-fx-rates.lake=//u:{}@h/x"])
def test_a_credential_in_a_url_is_refused_and_not_printed(name: str) -> None:
    done = run("--target", "cron", "--set", "lake=/l", *IMAGE, "--set", name.format("canary-7f3a9c"), *FX)
    assert done.returncode == 2
    assert "a password or a key" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_every_scheduler_stops_a_job_only_after_its_own_deadline_and_a_margin(emitted: dict[str, str]) -> None:
    """The limit follows the option --deadline."""
    variables, _, _ = crontab(emitted["cron"])
    assert [variables[f"job_{number}"].split()[:2] for number in range(1, 6)] == [["timeout", str(LIMITS[job])] for job in ORDER]
    templates = {one["name"]: one for one in yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["templates"]}
    assert {job: templates[job]["activeDeadlineSeconds"] for job in ORDER} == {job: str(LIMITS[job]) for job in ORDER}
    states = json.loads(emitted["stepfunctions"])["States"]
    assert states["load-warehouse"]["TimeoutSeconds"] == LIMITS["load-warehouse"]
    whole = yaml.safe_load(emitted["k8s-cronjob"])["spec"]["jobTemplate"]["spec"]
    assert whole["activeDeadlineSeconds"] == 4 * sum(LIMITS[job] for job in ORDER)
    assert yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["activeDeadlineSeconds"] > 4 * max(LIMITS.values())
    text = emit("cron", "--set", "lake=/l", "--set", "deadline=60", jobs=FX)
    assert crontab(text)[0]["job_1"].split()[1] == str(60 + MARGIN_S)


def test_a_secret_that_is_not_a_reference_is_refused_and_not_printed() -> None:
    words = ("--set", "token=canary-7f3a9c", "--image", f"extract-tiingo-prices={IMAGES['extract-tiingo-prices']}")
    done = run("--target", "cron", *VALUES, *words, "extract-tiingo-prices")
    assert done.returncode == 2
    assert "by reference" in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_an_old_option_name_is_renamed_with_a_warning() -> None:
    done = run("--target", "cron", "--set", "lake=/l", "--set", "patience=5", *IMAGE, *FX)
    assert "--retry-timeout 5" in done.stdout
    assert done.stderr == "--set: the parameter patience is deprecated and will be removed in the next version; use retry_timeout\n"


def test_allow_tag_accepts_tags_and_images_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text(json.dumps({FX[0]: "r.example/x:1"}))
    words = ("--target", "cron", "--set", "lake=/l", "--images", str(tmp_path / "images.json"), *FX)
    assert run(*words).returncode == 2
    assert " r.example/x:1 run " in run("--allow-tag", *words).stdout
