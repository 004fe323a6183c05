"""Files of an SFTP server are taken exactly once and stay where they are; who the server is, and who we are, is proved by keys."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from extract_dropped_files import inbox, parser, runner, sftp
from jobkit import redaction, secrets
from jobkit.errors import AuthError, BadDataError, JobError, MisconfiguredError, TemporaryError, UsageError

from verification.faults import job_runs

from .bank_samples import Entry, camt, statement
from .drops import DATASET, HEADER, PARTITION, Job, Place, rows
from .sftp_server import PASSWORD, BankServer, serve, set_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = f"{DATASET}/bank-2026-11-20.csv"


def figures(quantity: int) -> str:
    return HEADER + rows(3, str(quantity)).replace("1.5,15", f"1,{quantity}")


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BankServer]:
    monkeypatch.setenv("SFTP_CREDENTIAL", PASSWORD)
    (tmp_path / "server" / DATASET).mkdir(parents=True)
    (tmp_path / "drop").mkdir()
    with serve(tmp_path / "server") as server:
        yield server


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(f"file://{tmp_path}")


def server(bank: BankServer, path: str = "", contract: str | None = None, **changed: Any) -> sftp.Server:
    key = changed.pop("key", bank.public_key)
    return sftp.parse_server(bank.url(path), key, "env://SFTP_CREDENTIAL", contract)._replace(**changed)


def take(here: Place, source: sftp.Server) -> list[tuple[str, str]]:
    job = Job()
    runner.run(job, f"{here.url}/lake", f"{here.url}/drop", None, source)  # type: ignore[arg-type]
    return job.outcomes


def refuse(here: Place, source: sftp.Server, kind: type[JobError]) -> str:
    with pytest.raises(kind) as error:
        take(here, source)
    assert type(error.value) is kind
    assert PASSWORD not in str(error.value)
    return str(error.value)


def test_a_file_is_taken_once_and_stays_on_the_server(bank: BankServer, here: Place) -> None:
    path = bank.put(NAME, HEADER + rows(3))
    assert take(here, server(bank)) == [(PARTITION, "committed")]
    assert (here.head().number, here.head().data.rows) == (1, 3)
    assert here.head().source[0].url == f"sftp://127.0.0.1:{bank.port}/{NAME}"
    assert here.lake.read(here.head().source[0]) == path.read_bytes()
    assert [key for key in here.list_keys() if not key.startswith("taken/")] == [f"accepted/{NAME}"]
    assert take(here, server(bank)) == []
    assert (bank.reads, bank.changes) == ([path.name], [])


def test_a_server_that_lists_names_only_is_asked_for_size_and_time(bank: BankServer, here: Place) -> None:
    bank.lists_names_only = True
    bank.put(NAME, HEADER + rows(3))
    assert take(here, server(bank)) == [(PARTITION, "committed")]
    assert take(here, server(bank)) == []
    unknown = sftp._find_problem(asyncssh.SFTPAttrs(permissions=0o100644))
    assert unknown == "the server does not say its size, so nobody knows when it is whole"


def test_the_same_file_again_changes_nothing_and_a_changed_file_is_a_new_version(bank: BankServer, here: Place) -> None:
    bank.put(NAME, HEADER + rows(3))
    take(here, server(bank))
    bank.put(f"{DATASET}/later.csv", figures(20), 1_760_000_001)
    assert take(here, server(bank)) == [(PARTITION, "committed")]
    set_time(bank.root / NAME, 1_760_000_002)  # as after a move of the server: the content is that of before
    assert (take(here, server(bank)), here.head().number) == ([], 2)
    assert take(here, server(bank)) == []
    bank.put(NAME, figures(30), 1_760_000_003)
    assert (take(here, server(bank)), here.head().number) == ([(PARTITION, "committed")], 3)
    assert bank.reads == ["bank-2026-11-20.csv", "later.csv", "bank-2026-11-20.csv", "bank-2026-11-20.csv"]


def test_files_are_taken_in_the_order_in_which_they_came(bank: BankServer, here: Place) -> None:
    bank.put(f"{DATASET}/z.csv", figures(1), 1_760_000_000)
    bank.put(f"{DATASET}/a.csv", figures(2), 1_760_000_001)
    take(here, server(bank))
    assert here.head().source[0].url.endswith("/a.csv")


def test_a_refused_file_is_reported_once_and_does_not_stop_the_others(bank: BankServer, here: Place) -> None:
    bank.put(f"{DATASET}/a.csv", "some,other\n1,2\n", 1)
    bank.put(NAME, HEADER + rows(3), 2)
    assert "a.csv: it lacks the column" in refuse(here, server(bank), BadDataError)
    assert here.head().number == 1
    assert here.drop.read_rejection(f"{DATASET}/a.csv") is not None
    assert (bank.root / DATASET / "a.csv").exists()
    assert take(here, server(bank)) == []


@pytest.mark.parametrize("killed_at", range(3))
def test_a_run_that_is_killed_is_completed_by_the_next(
    bank: BankServer, here: Place, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the commit, before the accepted copy, and before the record that the file was taken."""
    bank.put(NAME, HEADER + rows(3))
    step = [(runner.partition_writer, "commit"), (runner.Drop, "accept"), (type(here.drop.store), "put")][killed_at]
    real = getattr(*step)

    def die(*arguments: Any, **named: Any) -> Any:
        if killed_at == 2 and not str(arguments[1]).startswith("taken/"):
            return real(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, die)
        with pytest.raises(KeyboardInterrupt):
            take(here, server(bank))
    assert take(here, server(bank)) == [(PARTITION, "committed" if killed_at == 0 else "unchanged")]
    assert (here.head().number, take(here, server(bank))) == (1, [])


@pytest.mark.parametrize("name", [".bank.csv", "bank.csv.filepart", "bank.csv.PART", "bank.tmp"])
def test_an_unfinished_upload_is_left_alone(bank: BankServer, here: Place, name: str) -> None:
    bank.put(f"{DATASET}/{name}", HEADER + rows(3))
    assert (take(here, server(bank)), bank.reads) == ([], [])


@pytest.mark.parametrize("moment", ["before_read", "before_stat"])
def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_run(bank: BankServer, here: Place, moment: str) -> None:
    bank.put(NAME, HEADER + rows(3))
    bank.put(f"{DATASET}/other.csv", HEADER + rows(3).replace("Bank", "Other"))

    def grow(path: Path) -> None:
        if path.name == "bank-2026-11-20.csv":
            with path.open("a") as file:
                file.write(rows(1, "7"))

    setattr(bank, moment, grow)
    assert "is still being written" in refuse(here, server(bank), runner.UnsettledError)
    assert here.head() is None
    setattr(bank, moment, lambda _: None)
    with (bank.root / NAME).open("w") as file:
        file.write(HEADER + rows(5))
    assert take(here, server(bank)) == [(PARTITION, "committed")]
    assert here.head().data.rows == 5


def test_a_file_of_the_same_size_that_is_written_meanwhile_is_left(bank: BankServer, here: Place) -> None:
    path = bank.put(NAME, HEADER + rows(3))
    bank.before_stat = lambda _: set_time(path, 1_760_000_009)
    assert "is still being written" in refuse(here, server(bank), runner.UnsettledError)


def test_a_file_has_to_stay_as_it_was_listed_for_a_while(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(inbox, "SETTLE_S", 3600.0)
    monkeypatch.setattr(inbox.time, "sleep", waits.append)
    bank.put(NAME, HEADER + rows(3))
    take(here, server(bank))
    assert 3500 < waits[0] <= 3600


def test_a_file_that_is_gone_or_odd_does_not_stop_the_others(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = bank.put(f"{DATASET}/a-gone.csv", HEADER + rows(1), 1)
    bank.put(f"{DATASET}/large.csv", HEADER + rows(99), 2)
    (bank.root / DATASET / "link.csv").symlink_to("/etc/passwd")
    (bank.root / DATASET / os.fsdecode(b"K\xf6ln.csv")).write_text(HEADER)
    (bank.root / DATASET / "folder").mkdir()
    bank.put(NAME, HEADER + rows(3), 3)
    monkeypatch.setattr(parser, "MAX_BYTES", 1000)
    bank.before_read = lambda _: gone.unlink(missing_ok=True)
    job = Job()
    with pytest.raises(BadDataError):
        runner.run(job, f"{here.url}/lake", f"{here.url}/drop", None, server(bank))  # type: ignore[arg-type]
    assert sorted(outcome for _, outcome in job.outcomes) == ["committed", "failed", "failed", "failed"]
    assert here.head().data.rows == 3


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (asyncssh.SFTPPermissionDenied("no"), BadDataError, "a.csv: the server does not let us read it"),
        (asyncssh.SFTPFailure("locked"), runner.UnsettledError, "a.csv: the server cannot read it now: locked"),
    ],
)
def test_a_file_that_the_server_does_not_give_does_not_stop_the_others(
    bank: BankServer, here: Place, fault: Exception, kind: type[JobError], message: str
) -> None:
    bank.put(f"{DATASET}/a.csv", HEADER, 1)
    bank.put(NAME, HEADER + rows(3), 2)

    def refuse_one(path: Path) -> None:
        if path.name == "a.csv":
            raise fault

    bank.before_read = refuse_one
    assert message in refuse(here, server(bank), kind)
    assert here.head().data.rows == 3


def test_a_server_that_is_given_as_the_drop_is_named_with_the_right_option(tmp_path: Path) -> None:
    result = job_runs.run_job("extract-dropped-files", ["--lake", str(tmp_path), "--drop", f"sftp://u:{PASSWORD}@bank.example/out"])
    assert result.code == 2
    assert "an SFTP server is named with --sftp" in result.stderr
    assert PASSWORD not in f"{result.stderr}{result.receipt}"


def test_a_folder_of_the_bank_has_one_contract(bank: BankServer, here: Place) -> None:
    bank.put("out/camt.053/statement 1.xml", camt(statement("100.00", "110.00", Entry("10.00"))))
    assert [outcome for _, outcome in take(here, server(bank, "/out/camt.053", "bank_statement"))] == ["committed", "committed"]
    assert "expected one of bank_statement" in refuse(here, server(bank, "/out", "prices"), UsageError)


def test_a_key_of_the_drop_asks_no_server(bank: BankServer, here: Place) -> None:
    here.put(NAME, HEADER + rows(3))
    job = Job()
    runner.run(job, f"{here.url}/lake", f"{here.url}/drop", NAME, server(bank, host="no-such-host.invalid"))  # type: ignore[arg-type]
    assert job.outcomes == [(PARTITION, "committed")]


def test_what_waits_in_the_drop_is_taken_although_the_server_fails(bank: BankServer, here: Place) -> None:
    here.put(NAME, HEADER + rows(3))
    here.put(f"{DATASET}/bad.csv", "x\n1\n")
    assert "bad.csv" in refuse(here, server(bank, host="no-such-host.invalid"), BadDataError)
    assert here.head().number == 1
    assert "cannot be reached to log in" in refuse(here, server(bank, host="no-such-host.invalid"), TemporaryError)


def test_plan_and_check_change_nothing(bank: BankServer, here: Place) -> None:
    bank.put(NAME, HEADER + rows(3))
    places = (f"{here.url}/lake", f"{here.url}/drop")
    expected = [{"dataset": DATASET, "partition": PARTITION, "asks": NAME, "commit": None}]
    assert runner.plan(*places, None, server(bank)) == expected
    runner.check(*places, server(bank))
    assert (here.list_keys(), here.lake.datasets(), bank.changes) == ([], [], [])
    with pytest.raises(MisconfiguredError, match="has no folder /none; correct --sftp"):
        runner.check(*places, server(bank, "/none"))
    with pytest.raises(MisconfiguredError, match="has no folder of a contract; expected bank_statement, "):
        runner.check(*places, server(bank, f"/{DATASET}"))


def test_a_container_whose_user_has_no_name_logs_in(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert take(here, server(bank)) == []


@pytest.mark.parametrize("form", ["pkcs1-pem", "pkcs8-pem", "openssh"])
def test_a_private_key_logs_in_and_none_of_its_lines_can_be_printed(
    bank: BankServer, here: Place, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = bank.user_key.export_private_key(form).decode()  # type: ignore[arg-type]
    monkeypatch.setenv("SFTP_CREDENTIAL", text)
    bank.put(NAME, HEADER + rows(3))
    assert take(here, server(bank)) == [(PARTITION, "committed")]
    for line in text.splitlines()[1:-1]:
        assert line not in redaction.redact(f"failed: {line}")


def test_a_server_with_another_host_key_gets_no_password(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("asyncssh.SSHServer.begin_auth", lambda *_: asked.append("login"))
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    assert "has none of the keys in --sftp-host-key" in refuse(here, server(bank, key=other), AuthError)
    rsa = bank.user_key.export_public_key().decode().strip()
    assert "has none of the keys in --sftp-host-key" in refuse(here, server(bank, key=rsa), AuthError)
    with pytest.raises(UsageError, match="--sftp needs --sftp-host-key"):
        server(bank, key=None)
    with pytest.raises(UsageError, match="is not a public key; expected one such as 'ssh-ed25519"):
        server(bank, key="SHA256:abc")
    assert asked == []
    monkeypatch.undo()
    monkeypatch.setenv("SFTP_CREDENTIAL", PASSWORD)
    assert take(here, server(bank, key=f"{rsa}, {bank.public_key}")) == []


def test_a_refused_login_is_one_sentence(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTP_CREDENTIAL", f"{PASSWORD}-wrong")
    refused = f"127.0.0.1:{bank.port} refuses the login; check the user in --sftp and the secret at env://SFTP_CREDENTIAL"
    assert refuse(here, server(bank), AuthError) == refused
    monkeypatch.setenv("SFTP_CREDENTIAL", asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode())
    assert refuse(here, server(bank), AuthError) == refused
    monkeypatch.setenv("SFTP_CREDENTIAL", f"{secrets.PEM}RSA PRIVATE KEY-----\nnonsense\n-----END RSA PRIVATE KEY-----")
    assert "cannot be read; store it whole and without a passphrase" in refuse(here, server(bank), MisconfiguredError)


def test_a_server_that_is_silent_or_away_is_temporary(bank: BankServer, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp, "ANSWER_S", 0.2)
    bank.stalls = True
    assert "no answer in time" in refuse(here, server(bank), TemporaryError)
    monkeypatch.setattr(sftp, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "cannot be reached to log in" in refuse(here, server(bank, port=port), TemporaryError)
    assert "cannot be reached to log in" in refuse(here, server(bank, port=port), TemporaryError)


def test_the_command_takes_the_server_and_prints_no_secret(bank: BankServer, tmp_path: Path) -> None:
    bank.put(NAME, HEADER + rows(3))
    places = ["--lake", str(tmp_path / "lake"), "--drop", str(tmp_path / "drop"), "--sftp", bank.url()]
    login = {"FINELT_SFTP_HOST_KEY": bank.public_key, "SFTP_CREDENTIAL": PASSWORD}
    result = job_runs.run_job("extract-dropped-files", places, **login)
    assert result.code == 0, result.stderr
    assert result.receipt
    assert [one["outcome"] for one in result.receipt["partitions"]] == ["committed"]
    assert PASSWORD not in f"{result.stderr}{result.receipt}"
    assert result.receipt["arguments"]["sftp"] == bank.url()
