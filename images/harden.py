"""Takes from a base image what no job needs and an intruder would like. Standard library only: it runs inside the build.

`python harden.py ROOT`: no installer stays, and no program that runs as somebody else than who called it. Where the base has no bytecode of
the standard library (the official images leave it out), it is added: it is half of the time a job takes to start. Nothing that changes gets
the time of day, so that the layer is the same each time it is made.
"""

from __future__ import annotations

import compileall
import os
import shutil
import stat
import sys
import sysconfig
from contextlib import contextmanager, nullcontext
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = 315532800  # 1980-01-01
INSTALLERS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence.pth", "uv")
COMMANDS = ("pip", "pip3", "pip3.*", "wheel", "easy_install*", "uv", "uvx")
UNCOMPILED = {
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "pydoc_data",
    "tkinter",
    "unittest",
    "site-packages",
    "dist-packages",
}
RUNS_AS_OTHER = stat.S_ISUID | stat.S_ISGID


def harden(root: Path, library: Path) -> None:
    """Nothing; the tree below `root`, whose Python keeps its standard library in `library`, is hardened."""
    compile_library(root, library)
    for path in sorted(installers(root, library)):
        remove(path)
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & RUNS_AS_OTHER:
            path.chmod(stat.S_IMODE(mode) & ~RUNS_AS_OTHER)


def installers(root: Path, library: Path) -> Iterator[Path]:
    """What can install packages: modules, wheels kept for later, commands."""
    yield from (path for path in (library / "ensurepip", root / "usr/share/python-wheels") if path.exists())
    for folder in {*library.parent.glob("python3*/*-packages"), *root.glob("usr/**/python3*/*-packages")}:
        for name in INSTALLERS:
            yield from (path for pattern in (name, f"{name}-*.dist-info", f"{name}-*.egg-info") for path in folder.glob(pattern))
    for folder in (root / "usr/local/bin", root / "usr/bin"):
        yield from (path for name in COMMANDS for path in folder.glob(name))


def remove(path: Path) -> None:
    """Nothing; the file or folder is gone, and the folder it was in is as old as before."""
    with keeping_time(path.parent):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def compile_library(root: Path, library: Path) -> None:
    """Nothing; every module of the standard library a job may import has bytecode. What has some keeps it."""
    before = set(library.rglob("__pycache__/*"))
    folders = [path for path in library.rglob("*/") if path.is_dir() and not set(path.relative_to(library).parts) & UNCOMPILED]
    for folder in [library, *folders]:
        cache = folder / "__pycache__"
        with keeping_time(folder), keeping_time(cache) if cache.exists() else nullcontext():
            compileall.compile_dir(folder, maxlevels=0, stripdir=root, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    added = set(library.rglob("__pycache__/*")) - before
    for path in added | {path.parent for path in added if path.parent not in {kept.parent for kept in before}}:
        os.utime(path, (EPOCH, EPOCH))


@contextmanager
def keeping_time(folder: Path) -> Iterator[None]:
    """The folder, which keeps its time stamp whatever is done in it."""
    before = folder.stat()
    yield
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


if __name__ == "__main__":
    harden(Path(sys.argv[1]), Path(sys.argv[1] + sysconfig.get_path("stdlib")))
