"""A major upgrade of Postgres, as RDS does it: pg_upgrade from the older server of the embedded wheel to the newer one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobkit.lake import Lake

from orchestration.local import postgres, postgres_home
from tests.test_incremental import answers_until
from tests.warehouse import role_database as databases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres_home import PostgresHome
    from tests.warehouse.role_database import RoleDatabase

OLDER = "pginstall"  # the folder of the older version in the wheel
COUNTS = {
    databases.LOAD: "select count(*), sum(hashtext(r::text)) from raw.tiingo_prices r",
    databases.PUBLISH: "select count(*), sum(hashtext(m::text)) from marts.fct_price_daily m",
    databases.READER: "select count(*) from as_of.fct_fundamental",
}


def upgrade(old: PostgresHome, new: PostgresHome) -> None:
    """Upgrade the cluster of a home in place, with the programs of the newer version."""
    fresh, before = new.path / "data.upgraded", new.path / "data.old"
    fresh.mkdir(mode=0o700)
    new.chown(fresh)
    options = {"capture_output": True, **new.popen_arguments(), "cwd": fresh}
    words = ["--username", postgres.USER, "--encoding=UTF8", "--locale=C.UTF-8", "--no-data-checksums", "--auth=trust"]
    subprocess.run([new.binaries / "initdb", "-D", fresh, *words], check=True, **options)
    new.data.rename(before)
    rules = (before / "pg_hba.conf").read_text()
    (before / "pg_hba.conf").write_text("local all all trust\n")  # pg_upgrade connects by a socket that only we can reach
    clusters = ["-b", old.binaries, "-B", new.binaries, "-d", before, "-D", fresh, "-U", postgres.USER, "--socketdir", fresh]
    done = subprocess.run([new.binaries / "pg_upgrade", *clusters], check=False, **options)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    (fresh / "pg_hba.conf").write_text(rules)
    fresh.rename(new.data)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the account of the server can enter, so that it runs the programs of the wheel itself."""
    folder = Path(tempfile.mkdtemp(prefix="finelt-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "postgres"
    postgres.remove(folder / "postgres")
    shutil.rmtree(folder)


def test_a_major_upgrade_keeps_roles_rows_and_marts_and_the_next_load_finds_nothing_new(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, answers = Lake(str(tmp_path / "lake")), answers_until("2012-06-29", ("AAPL",))

    def read(database: RoleDatabase) -> dict[str, Any]:
        return {role: database.rows(role, query) for role, query in COUNTS.items()}

    with monkeypatch.context() as older:
        older.setattr(postgres_home, "INSTALL", OLDER)
        with postgres.run_server(directory) as server:
            database = databases.RoleDatabase(server, postgres.DATABASE)
            databases.load_and_transform(database, lake, answers)
            before, version = read(database), database.rows(databases.LOAD, "show server_version_num")
        old = server.home
    upgrade(old, postgres_home.locate(directory))
    with postgres.run_server(directory) as server:
        database = databases.RoleDatabase(server, postgres.DATABASE)
        assert database.rows(databases.LOAD, "show server_version_num") > version
        assert read(database) == before
        receipt = database.run_job(databases.LOAD, "--lake", str(tmp_path / "lake"))
        assert receipt["status"] == "unchanged"
        database.run_job(databases.TRANSFORM)
        assert read(database) == before
