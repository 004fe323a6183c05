"""The command `finelt`: its help is quick and complete, errors are one sentence, and a wheel has what its commands import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from finelt import cli, init
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import descriptions, parameters
from tests.test_import_graph import MODULES, imported_modules

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = {**cli.finelt.all_entries, **{f"new {name}": entry for name, entry in cli.new.all_entries.items()}}
HEAVY = ("prefect", "pulumi", "psycopg", "boto3", "dbt", "rich", "arro3", "docker")


def test_the_help_has_every_script_and_imports_nothing_heavy() -> None:
    code = f"import sys\nfrom finelt.cli import finelt\ntry: finelt(['-h'])\nfinally: print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    commands = set(re.findall(r"^  ([a-z]+)  +[A-Z]", done.stdout, re.MULTILINE))
    scripts = {path.name for path in (REPOSITORY / "scripts").iterdir()} - {"finelt", "setup", "test", "types"}
    assert {name.partition("-")[0] for name in scripts} <= commands


@pytest.mark.parametrize("name", ENTRIES)
def test_every_subcommand_exists(name: str) -> None:
    """It is found by reading, because importing all takes many seconds."""
    module, _, attribute = ENTRIES[name].target.partition(":")
    text = MODULES[module].read_text(encoding="utf-8")
    assert re.search(rf"^(def {attribute}\(|{attribute} = |from .* import {attribute}$)", text, re.MULTILINE)


@pytest.mark.parametrize("words", [["quarantine", "-h"], ["new", "job", "-h"], ["doctor", "-h"], ["lake", "verify", "-h"]])
def test_every_subcommand_takes_the_short_option_for_help(words: list[str]) -> None:
    result = CliRunner().invoke(cli.finelt, words, prog_name="finelt")
    assert result.exit_code == 0, result.output
    assert "usage: finelt " + " ".join(words[:-1]) in result.output.replace("Usage", "usage")


def test_completion_offers_subcommands_and_their_options() -> None:
    complete = ShellComplete(cli.finelt, {}, "finelt", "_FINELT_COMPLETE")
    assert [item.value for item in complete.get_completions([], "co")] == ["compose", "costs", "contracts", "conformance"]
    assert "--lake" in [item.value for item in complete.get_completions(["quarantine", "ls"], "--")]


def test_a_lake_that_is_not_there_is_an_error_and_not_an_empty_answer(tmp_path: Path) -> None:
    for words in (["quarantine", "ls"], ["lake", "verify"]):
        result = CliRunner().invoke(cli.finelt, [*words, "--lake", str(tmp_path / "lak")])
        assert result.exit_code == 78, result.output
        assert f"there is no lake at {tmp_path}/lak" in result.stderr


def test_without_a_checkout_the_other_commands_are_hidden_and_say_what_they_need() -> None:
    from_wheel = cli.Commands("finelt", cli.SECTIONS, is_checkout=False)
    runner = CliRunner()
    shown = set(re.findall(r"^  ([a-z]+)  +[A-Z]", runner.invoke(from_wheel, ["-h"]).output, re.MULTILINE))
    assert shown == {name for name, entry in ENTRIES.items() if entry.is_portable}
    refused = runner.invoke(from_wheel, ["demo"])
    assert (refused.exit_code, "demo needs a checkout of finelt's repository" in refused.stderr) == (2, True)


def test_the_wheel_has_every_module_that_its_commands_import() -> None:
    """Add it to `only-include` in pyproject.toml. jobkit is a wheel of its own."""
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["only-include"]
    pending = ["finelt.cli", *(entry.target.partition(":")[0] for entry in ENTRIES.values() if entry.is_portable)]
    needed: set[str] = set()
    while pending:
        if (module := pending.pop()) not in needed:
            needed.add(module)
            pending += imported_modules(MODULES[module])
            pending += [package for package in (module.rpartition(".")[0],) if package in MODULES]
    paths = {str(MODULES[module].relative_to(REPOSITORY)) for module in needed}
    missing = [path for path in paths if not any(path == entry or path.startswith(f"{entry}/") for entry in included)]
    assert sorted(path for path in missing if not path.startswith("jobs/jobkit/")) == []


def test_init_writes_a_file_whose_every_setting_is_accepted_and_never_overwrites(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(init.main, ["--dir", str(tmp_path)]).exit_code == 0
    path = tmp_path / parameters.FILE
    assert parameters.read_settings(path) == parameters.Settings(str(path))
    used = re.sub(r"^# (\w+ = |\[)", r"\1", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(used, encoding="utf-8")
    settings = parameters.read_settings(path)
    assert (settings.vendors, settings.webhook) == (["ecb", "treasury", "sec", "tiingo"], "env://FINELT_WEBHOOK")
    settings.check_vendors([spec.vendor for spec in catalogue()])
    described = descriptions.describe_jobs(descriptions.installed_commands(catalogue()))
    options = {name: list(text["options"]["properties"]) for name, text in described.items()}
    selected = parameters.select_parameters(options, settings.values, str(path))
    assert selected["extract-tiingo-prices"]["tickers"] == ["AAPL", "MSFT", "NVDA"]
    refused = runner.invoke(cli.finelt, ["init", "--dir", str(tmp_path)])
    assert refused.exit_code != 0
    assert path.read_text(encoding="utf-8") == used
