"""Prefect's server on this machine: how it begins, and that Prefect knows the settings we give it and its clients."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.settings import Settings
from pydantic import BaseModel

from orchestration.local import prefect_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = ("docker-compose.yml", "infra/**/*.py", "orchestration/**/*.py", "orchestration/**/*.toml", "jobs/jobkit/jobkit/**/*.py")
OTHERS = re.compile(r"PREFECT_(GB|HOST|_FLOW_RUN_ID|INTEGRATIONS_\w+|REDIS_MESSAGING_\w+)")  # names of our own, and of Prefect's additions


def known(settings: type[BaseModel]) -> Iterator[str]:
    """Every name by which Prefect takes a setting from the environment."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    for name, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known(field.annotation)
        else:
            aliases = getattr(field.validation_alias, "choices", [])
            yield from (alias.upper() for alias in (prefix + name, *aliases) if isinstance(alias, str))


def test_prefect_knows_every_setting_we_give() -> None:
    """It ignores one it does not know without a word."""
    texts = [path.read_text() for pattern in OURS for path in REPOSITORY.glob(pattern)]
    given = {name for text in texts for name in re.findall(r"\bPREFECT_[A-Z_]*[A-Z]\b", text) if not OTHERS.fullmatch(name)}
    assert "PREFECT_SERVER_REGISTER_BLOCKS_ON_START" in given
    assert given - set(known(Settings)) == set()


def test_the_second_server_begins_with_an_empty_database_that_the_first_one_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.db"
    monkeypatch.setattr(prefect_server, "_template_db", lambda: kept)
    for name, new in (("one", True), ("two", False)):
        made = prefect_server.start_server(tmp_path / name)
        try:
            made.wait_until_ready()
            assert made.is_new is new
            assert made.api().call("POST", "/flows/filter", {}, within_s=5) == []
        finally:
            prefect_server.stop_server(made)
    with closing(sqlite3.connect(kept)) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        assert [name for name in tables if database.execute(f'select 1 from "{name}" limit 1').fetchone()] == ["alembic_version"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.db", "one", "two"]
