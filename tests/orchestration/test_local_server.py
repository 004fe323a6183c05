"""The local Prefect server: its database, its concurrency, and the names of the settings that it and its clients get."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.settings import Settings
from pydantic import BaseModel

from orchestration.local import prefect_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = ("docker-compose.yml", "infra/**/*.py", "orchestration/**/*.py", "orchestration/**/*.toml", "jobs/jobkit/jobkit/**/*.py")
OTHERS = re.compile(r"PREFECT_(GB|HOST|PORT|_FLOW_RUN_ID|INTEGRATIONS_\w+|REDIS_\w+)")  # names of our own, and of Prefect's additions


def known(settings: type[BaseModel]) -> Iterator[str]:
    """Yield the name of every environment variable that is a setting of Prefect."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    for name, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known(field.annotation)
        else:
            aliases = getattr(field.validation_alias, "choices", [])
            yield from (alias.upper() for alias in (prefix + name, *aliases) if isinstance(alias, str))


def test_prefect_knows_every_setting_that_we_set() -> None:
    """Prefect ignores unknown settings silently."""
    texts = [path.read_text() for pattern in OURS for path in REPOSITORY.glob(pattern)]
    given = {name for text in texts for name in re.findall(r"\bPREFECT_[A-Z_]*[A-Z]\b", text) if not OTHERS.fullmatch(name)}
    assert "PREFECT_SERVER_REGISTER_BLOCKS_ON_START" in given
    assert given - set(known(Settings)) == set()


def test_a_second_server_starts_from_the_empty_database_that_the_first_one_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_server_serialises_writes_and_says_when_to_retry() -> None:
    at_once, most = 0, 0

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def ask(method: str, path: str) -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await answer({"type": "http", "method": method, "path": path}, None, send)
        return sent

    async def several(method: str, path: str) -> list[list[Any]]:
        return await asyncio.gather(*(ask(method, path) for _ in range(3)))

    answer = prefect_server.serialise_writes(app)
    (first, *_), changes = asyncio.run(several("POST", "/api/flow_runs/")), most
    asyncio.run(several("POST", "/api/flow_runs/filter"))
    assert first[0]["headers"] == [(b"retry-after", b"0.1")]
    assert (changes, most) == (1, 3)
