"""A warehouse made of the vendors' own files, where they are; made once for all tests that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_answers, recorded_lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres
    from tests.fixtures_postgres import Warehouse


@pytest.fixture(scope="session")
def feeds(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Prices of 2015 to 2017, rates, yields, and the facts of three companies, transformed."""
    if not recorded_answers.FEEDS.exists():
        pytest.skip("the vendors' own files are not on this machine")
    lake = Lake(str(tmp_path_factory.mktemp("feeds") / "lake"))
    yield recorded_lake.build(postgres_server, "feeds", lake, recorded_answers.of_the_feeds())
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("drop database feeds with (force)")
