"""Hardens a base image. Standard library only: it runs inside the build.

`python harden.py ROOT RDS_CA` removes installers, and the setuid and setgid bits of all programs. It also compiles the standard library if
the base has no bytecode, as the official images do not: this halves the time a job takes to start. And it adds a file with the base's
public CAs and those of Amazon RDS, by which clients verify the certificate of a database in AWS. No time stamp is the time of the build,
so the layer is reproducible.
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
INSTALLER_MODULES = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence.pth", "uv")
INSTALLER_COMMANDS = ("pip", "pip3", "pip3.*", "wheel", "easy_install*", "uv", "uvx")
UNCOMPILED_FOLDERS = {
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
PUBLIC_CA, CA_FILE = "etc/ssl/certs/ca-certificates.crt", "etc/ssl/rds-and-public.pem"
SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


def harden(root: Path, library: Path) -> None:
    """Harden the file tree at `root`, whose Python has its standard library in `library`."""
    compile_library(root, library)
    for path in sorted(find_installers(root, library)):
        remove_path(path)
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & SET_ID_BITS:
            path.chmod(stat.S_IMODE(mode) & ~SET_ID_BITS)


def write_ca_file(root: Path, rds_ca: Path) -> None:
    """Write the certificates that clients in the image trust: the public ones of the base, if it has any, and those of RDS."""
    public, path = root / PUBLIC_CA, root / CA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with preserve_mtime(path.parent):
        path.write_bytes((public.read_bytes() if public.is_file() else b"") + rds_ca.read_bytes())
    path.chmod(0o644)
    os.utime(path, (EPOCH, EPOCH))


def find_installers(root: Path, library: Path) -> Iterator[Path]:
    """Yield what can install packages: modules, bundled wheels and commands."""
    yield from (path for path in (library / "ensurepip", root / "usr/share/python-wheels") if path.exists())
    for folder in {*library.parent.glob("python3*/*-packages"), *root.glob("usr/**/python3*/*-packages")}:
        for name in INSTALLER_MODULES:
            yield from (path for pattern in (name, f"{name}-*.dist-info", f"{name}-*.egg-info") for path in folder.glob(pattern))
    for folder in (root / "usr/local/bin", root / "usr/bin"):
        yield from (path for name in INSTALLER_COMMANDS for path in folder.glob(name))


def remove_path(path: Path) -> None:
    """Remove a file or folder; keep the modification time of its parent."""
    with preserve_mtime(path.parent):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def compile_library(root: Path, library: Path) -> None:
    """Compile every module of the standard library that a job may import. Existing bytecode is kept."""
    before = set(library.rglob("__pycache__/*"))
    folders = [path for path in library.rglob("*/") if path.is_dir() and not set(path.relative_to(library).parts) & UNCOMPILED_FOLDERS]
    for folder in [library, *folders]:
        cache = folder / "__pycache__"
        with preserve_mtime(folder), preserve_mtime(cache) if cache.exists() else nullcontext():
            compileall.compile_dir(folder, maxlevels=0, stripdir=root, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    added = set(library.rglob("__pycache__/*")) - before
    for path in added | {path.parent for path in added if path.parent not in {path_before.parent for path_before in before}}:
        os.utime(path, (EPOCH, EPOCH))


@contextmanager
def preserve_mtime(folder: Path) -> Iterator[None]:
    """Restore the folder's time stamps at the end of the block."""
    before = folder.stat()
    yield
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


if __name__ == "__main__":
    harden(Path(sys.argv[1]), Path(sys.argv[1] + sysconfig.get_path("stdlib")))
    write_ca_file(Path(sys.argv[1]), Path(sys.argv[2]))
