"""Run the commands of the pages that need only this machine; for all others, check that command and options exist. Check every link."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from finelt import warehouse

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "docs/operations.md",
        "docs/upgrades.md",
        "docs/publication.md",
        "docs/erasure.md",
        "docs/disaster-recovery.md",
        "infra/README.md",
        "images/README.md",
    )
]
BLOCK = re.compile(r"^```sh[\w ]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
# Commands that neither change this machine nor use the network; they read the directory of a finished demo.
HARMLESS = ("./scripts/sql", "./scripts/quarantine", "./scripts/lake verify", "./scripts/contracts lint", "./scripts/docs")


def commands() -> list[str]:
    """Return every command of the pages that starts one of our programs, without its comment and what follows a pipe."""
    result = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.split(r"\s+#\s|\s[|>]\s|\s<\(", line.strip())[0].strip()
                command = re.sub(r"^\w+=\$\((.*)\)$", r"\1", command)
                if command.startswith(("./scripts/", ".venv/bin/")):
                    result.append(command)
    return result


@cache
def read_help(*words: str) -> str:
    completed = subprocess.run([*words, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, f"{' '.join(words)}: {completed.stderr}"
    return completed.stdout


@pytest.mark.parametrize("command", sorted({command for command in commands() if "scripts/setup" not in command}))
def test_a_command_of_the_pages_exists_with_its_options(command: str) -> None:
    program, *words = shlex.split(command)
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if program == "./scripts/test":
        return
    subcommands = [
        word for word in words[:1] if not word.startswith("-") and re.search(rf"^  {re.escape(word)}\s", read_help(program), re.MULTILINE)
    ]
    text = read_help(program, *subcommands)
    if program == "./scripts/compose":
        options = [option for option in options if option == "--fallback"]  # the others are docker compose's
    for option in options:
        assert re.search(rf"(?<!\S){re.escape(option)}\b", text), f"{command}: {program} has no {option}"


@pytest.mark.parametrize("command", sorted({command for command in commands() if command.startswith(HARMLESS) and "s3://" not in command}))
def test_a_harmless_command_of_the_pages_succeeds(command: str, demo_directory: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "finelt"
    checkout.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".finelt", "docs"):
            (checkout / entry.name).symlink_to(entry)
    (checkout / "docs").mkdir()
    (checkout / ".finelt").symlink_to(demo_directory)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    completed = subprocess.run(["bash", "-c", command], cwd=checkout, env=environ, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.strip()
    if "./scripts/sql" in command and "fct_price_issue" not in command:  # nobody doubts the prices of the demo
        assert completed.stdout.count("\n") > 1, "no row"
    assert "setup:" not in completed.stderr, "an environment that is current was installed again"


def test_the_sql_of_the_readme_returns_rows(demo_directory: Path) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    with warehouse.open_warehouse(demo_directory, None) as login:
        for block in blocks:
            with warehouse.connect(login) as connection:
                *settings, query = [statement for statement in re.sub(r"--[^\n]*", "", block).split(";") if statement.strip()]
                for setting in settings:
                    connection.execute(setting.encode())
                assert connection.execute(query.encode()).fetchall(), block


def test_the_restatement_of_the_readme_is_seen_between_two_moments(demo_directory: Path) -> None:
    values = []
    for words in (shlex.split(command) for command in commands() if "--as-of" in command):
        moment = warehouse.parse_moment(words[words.index("--as-of") + 1])
        with warehouse.open_warehouse(demo_directory, None) as login, warehouse.connect(login, moment) as connection:
            values += connection.execute(words[-1].encode()).fetchall()
    assert [int(value) for value, _ in values] == [36537000000, 42905000000]


def pages() -> list[Path]:
    """Return every page of the repository, tracked or not."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            headings = [line.lstrip("# ") for line in target.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page.name}: #{anchor}"


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
HEAD = re.compile(r"# (\d{4})\. (.+)\n\nDate: (\d{4}-\d{2}-\d{2})\. Status: (proposed|accepted|superseded by \d{4})\.\n")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_the_index_lists_each_decision_with_its_title_date_and_status(page: Path) -> None:
    head = HEAD.match(page.read_text(encoding="utf-8"))
    assert head, "expected '# 0001. Title', an empty line, and 'Date: YYYY-MM-DD. Status: accepted.'"
    number, title, date, status = head.groups()
    assert page.name.startswith(f"{number}-")
    assert f"| [{number}]({page.name}) | {title} | {date} | {status} |\n" in (page.parent / "README.md").read_text(encoding="utf-8")


def test_a_page_that_code_refers_to_exists() -> None:
    files = ("*.py", "*.sql", "*.yml", "*.yaml", "*.toml", "*.md", "scripts", "images")
    command = ["git", "grep", "-IohE", r"\bdocs/[a-z0-9/_-]+\.md", "--", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(name for name in set(listed.split()) if not (ROOT / name).exists()) == []


PATH = re.compile(r"`((?:jobs|dbt|images|orchestration|infra|finelt|verification|scripts|tests|docs|\.github|\.ci)/[\w./*-]*)`")


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/code-map.md",
        "docs/concepts.md",
        "jobs/README.md",
        "images/README.md",
        "finelt/README.md",
        "verification/README.md",
    ],
)
def test_a_path_that_a_page_names_exists(name: str) -> None:
    paths = PATH.findall((ROOT / name).read_text(encoding="utf-8"))
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_screenshots_are_small() -> None:
    assert sum(image.stat().st_size for image in (ROOT / "docs" / "images").iterdir()) < 150_000
