"""A directory as a drop: only ordinary files inside it are read; other entries stay, are reported, and never block the job."""

from __future__ import annotations

import errno
import os
import socket
import threading
from contextlib import chdir
from typing import TYPE_CHECKING

import pytest
from extract_dropped_files import runner, source
from extract_dropped_files.source import Drop
from jobkit.contracts import escape_text
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError

from .drops import DATASET, HEADER, PARTITION, Job, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "not for the drop"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of the drop with one good file."""
    made = tmp_path / "drop" / DATASET
    made.mkdir(parents=True)
    (made / "good.csv").write_text(HEADER + rows(2))
    (tmp_path / "elsewhere").write_text(SECRET)
    return made


def run(folder: Path, key: str | None = None) -> tuple[list[tuple[str, str]], str]:
    """Return the outcomes in the receipt, and the error message."""
    job, message = Job(), ""
    try:
        runner.run(job, str(folder.parents[1] / "lake"), str(folder.parent), key)  # type: ignore[arg-type]
    except BadDataError as error:
        message = str(error)
    return job.outcomes, message


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound, chdir(path.parent):  # a socket's path has 107 bytes at most
        bound.bind(path.name)


def device_at(path: Path) -> None:
    try:
        os.mknod(path, 0o20644, os.makedev(1, 5))  # endless zeros
    except PermissionError:
        pytest.skip("devices are made by root only")


ODD: dict[str, Callable[[Path, Path], object]] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "symbolic link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "symbolic link to nothing": lambda path, _: path.symlink_to("nowhere"),
    "symbolic link within": lambda path, _: path.symlink_to("good.csv"),
    "hard link": lambda path, elsewhere: os.link(elsewhere, path),
    "socket": lambda path, _: socket_at(path),
    "device": lambda path, _: device_at(path),
}


def make_odd_entry(folder: Path, kind: str) -> str:
    """Put an odd entry into the drop and return its key."""
    if kind == "folder that is a symbolic link":
        (folder.parent / "linked").symlink_to(folder.parents[1])
        return "linked"
    name = {"long name": "n" * 240 + ".csv", "name of other bytes": os.fsdecode(b"K\xf6ln.csv")}.get(kind, "odd.csv")
    if kind in ODD:
        ODD[kind](folder / name, folder.parents[1] / "elsewhere")
    else:
        (folder / name).write_text(HEADER + rows(1))
    return escape_text(f"{DATASET}/{name}")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", "is a named pipe and is not read"),
        ("symbolic link", "is a symbolic link and is not read"),
        ("symbolic link to nothing", "is a symbolic link and is not read"),
        ("symbolic link within", "is a symbolic link and is not read"),
        ("hard link", "is a hard link to a file that has another name, too, and is not read"),
        ("socket", "is a socket and is not read"),
        ("device", "is a device and is not read"),
        ("folder that is a symbolic link", "is a symbolic link and is not read"),
        ("long name", "its name is longer than 200 bytes; shorten it; it stays where it is"),
        ("name of other bytes", "its name is not Unicode; rename it"),
    ],
)
def test_an_odd_entry_stays_and_does_not_stop_the_others(folder: Path, kind: str, message: str) -> None:
    key = make_odd_entry(folder, kind)
    left = sorted(path.name for path in folder.iterdir())
    outcomes, sentence = run(folder)
    assert message in sentence
    assert sorted(outcomes) == sorted([(key, "failed"), (PARTITION, "committed")])
    assert sorted(path.name for path in folder.iterdir()) == [name for name in left if name != "good.csv"]
    assert not (folder.parent / "rejected").exists()
    assert SECRET not in sentence
    assert run(folder)[0] == [(key, "failed")]


def test_a_file_that_the_job_may_not_read_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.csv").write_text(HEADER + rows(2))
    really_open = os.open

    def refuse(path: Path | str, *rest: int, **named: int | None) -> int:
        if path == "a.csv":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return really_open(path, *rest, **named)

    monkeypatch.setattr(source.os, "open", refuse)
    outcomes, message = run(folder)
    assert [outcome for _, outcome in outcomes] == ["failed", "committed"]
    assert "a.csv: the job may not read it; give it the right to do so" in message
    assert (folder / "a.csv").exists()


@pytest.mark.parametrize("key", ["linked/elsewhere", f"{DATASET}/../elsewhere", "../elsewhere", f"{DATASET}//good.csv"])
def test_a_key_cannot_leave_the_drop(folder: Path, key: str) -> None:
    (folder.parent / "linked").symlink_to(folder.parents[1])
    outcomes, message = run(folder, key)
    assert outcomes == [(key, "failed")]
    assert "stays where it is" in message
    assert SECRET not in message


def test_a_folder_named_like_a_file_is_searched(folder: Path) -> None:
    (folder / "x.csv").mkdir()
    assert run(folder) == ([(PARTITION, "committed")], "")
    (folder / "x.csv" / "y.csv").write_text(HEADER + rows(1))
    outcomes, message = run(folder)
    assert outcomes == [(f"{DATASET}/x.csv/y.csv", "failed")]
    assert "is not a valid file name" in message


@pytest.mark.parametrize("name", ["a\nb.csv", "a\x1b[2Jb.csv", "a..b.csv"])
def test_a_name_that_cannot_be_printed_or_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text(HEADER + rows(1))
    outcomes, message = run(folder)
    assert (f"{DATASET}/{name}", "failed") in outcomes
    assert "is not a valid file name" in message
    assert (folder.parent / "rejected" / DATASET / name).exists()


def test_nothing_is_written_through_a_link(folder: Path) -> None:
    (folder.parents[1] / "lake").mkdir()
    (folder.parent / "accepted").symlink_to(folder.parents[1] / "lake")
    with pytest.raises(MisconfiguredError, match="is a symbolic link, so that the job would write outside the drop"):
        runner.run(Job(), str(folder.parents[1] / "lake"), str(folder.parent), None)  # type: ignore[arg-type]
    assert (folder / "good.csv").exists()


def test_no_lock_stays_in_the_drop(folder: Path) -> None:
    (folder / "bad.csv").write_text("x\n1\n")
    run(folder)
    assert [path.name for path in folder.parent.rglob(".*")] == []


def test_a_hidden_file_is_ignored_until_it_is_renamed(folder: Path) -> None:
    (folder / "good.csv").rename(folder / ".good.csv")
    assert run(folder) == ([], "")
    (folder / ".good.csv").rename(folder / "good.csv")
    assert run(folder)[0] == [(PARTITION, "committed")]


def test_a_file_that_is_being_written_is_read_when_it_is_complete(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the job looks, the file has one more line, until the fourth."""
    whole, looks = HEADER + rows(4), iter([2, 1, 0])
    (folder / "good.csv").write_text(HEADER)

    def write(_: float) -> None:
        if (left := next(looks, None)) is not None:
            (folder / "good.csv").write_text(HEADER + rows(4 - left))

    monkeypatch.setattr(source, "SETTLE_S", 3600.0)
    monkeypatch.setattr(source.time, "sleep", write)
    file = Drop(str(folder.parent)).read(f"{DATASET}/good.csv", 1 << 20)
    assert file is not None
    assert file.data.decode() == whole


def test_a_file_that_never_settles_is_left_for_the_next_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: float) -> None:
        with (folder / "slow.csv").open("a") as file:
            file.write("more\n")

    (folder / "slow.csv").write_text(HEADER)
    monkeypatch.setattr(source, "SETTLE_S", 3600.0)
    monkeypatch.setattr(source.time, "sleep", write)
    with pytest.raises(TemporaryError, match=r"slow\.csv is still being written; try again when it is whole, or write it as \.slow\.csv"):
        runner.run(Job(), str(folder.parents[1] / "lake"), str(folder.parent), None)  # type: ignore[arg-type]
    assert [path.name for path in folder.iterdir()] == ["slow.csv"]


def test_a_file_that_is_replaced_by_a_pipe_does_not_block_the_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = threading.Event()

    def swap(_: float) -> None:
        if not swapped.is_set():
            (folder / "good.csv").unlink()
            os.mkfifo(folder / "good.csv")
            swapped.set()

    monkeypatch.setattr(source, "SETTLE_S", 3600.0)
    monkeypatch.setattr(source.time, "sleep", swap)
    assert "is a named pipe and is not read" in run(folder)[1]
