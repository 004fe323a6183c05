"""Atomic file writes: what a reader and a killed writer see."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from jobkit import files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_with_the_given_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "secret"
    files.replace_file(path, b"one")
    files.replace_file(path, b"two", mode=0o600, owner=(os.getuid(), os.getgid()))
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_with_a_copy_of_another(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    files.replace_file(tmp_path / "copy", tmp_path / "source")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes() == b"content"


def test_an_existing_file_is_not_created_again(tmp_path: Path) -> None:
    files.create_file(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        files.create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("failpoint", ["before write#1", "before fsync#1", "after fsync#1", "before rename#1"])
def test_a_killed_writer_leaves_the_previous_file(tmp_path: Path, failpoint: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"previous")
    code = "import pathlib, sys; from jobkit import files; files.replace_file(pathlib.Path(sys.argv[1]), b'new')"
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, env={**os.environ, "FINELT_FAILPOINT": failpoint}, check=False)
    assert path.read_bytes() == b"previous"
    subprocess.run(command, check=True)
    assert path.read_bytes() == b"new"
