"""Makes a reproducible image layer of what was just installed. Standard library only: it runs inside the build.

`python assemble.py APP LAYERS NAME [COMMAND]` copies the files of APP that are in no layer of LAYERS to LAYERS/NAME, without unneeded
files, with bytecode, and with one time stamp. COMMAND, also linked as `job`, is the only command of APP that stays.
"""

from __future__ import annotations

import compileall
import csv
import filecmp
import os
import shutil
import sys
from importlib.util import cache_from_source, source_hash
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

FINAL_LAYERS = ("rest", "project")  # layers that take all remaining files
EPOCH = 315532800  # 1980-01-01, the earliest time in a zip file; the time of every file of every image
AWS_APIS = {"s3", "sts", "secretsmanager", "ssm"}  # what jobkit calls; sts provides the credentials of a container's role
AWS_APIS |= set(os.environ.get("MORE_AWS_APIS", "").split())
LOCALES = {"root.dat", "en.dat", "en_US.dat"}  # dbt formats numbers in American English
SOURCE_SUFFIXES = {".a", ".c", ".cc", ".cpp", ".h", ".hpp", ".pxd", ".pyi", ".pyx"}
UV_METADATA = {"_virtualenv.py", "_virtualenv.pth", ".lock", ".gitignore", "CACHEDIR.TAG", "direct_url.json", "uv_cache.json"}


def find_unneeded(app: Path) -> Iterator[Path]:
    """Yield the paths that no job needs: tests, headers, models of other AWS services, other locales, uv's metadata."""
    (site,) = app.glob("lib/python*/site-packages")
    yield from (path for path in site.glob("botocore/data/*/") if path.is_dir() and path.name not in AWS_APIS)
    yield from (site / "boto3" / name for name in ("data", "examples"))
    yield from (path for path in site.glob("babel/locale-data/*.dat") if path.name not in LOCALES)
    yield from (path.parent for name in ("test", "tests") for path in site.rglob(f"{name}/__init__.py"))
    yield from (path for path in app.rglob("*") if path.suffix in SOURCE_SUFFIXES or path.name in UV_METADATA)
    yield from (app / name for name in ("include", "share"))


def remove_commands(app: Path, command: str | None) -> None:
    """Remove all commands except Python and the job's own, and link the latter as `job`."""
    for path in (app / "bin").iterdir():
        if not path.name.startswith("python") and path.name not in {command, "job"}:
            path.unlink()
    if command and (app / "bin" / command).exists() and not (app / "bin" / "job").is_symlink():
        (app / "bin" / "job").symlink_to(command)


def remove_unneeded(app: Path) -> None:
    """Remove unneeded files, also from the packages' lists of files."""
    for path in list(find_unneeded(app)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for record in app.rglob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if (record.parent.parent / row[0]).exists()]
        with record.open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines, lineterminator="\n").writerows(rows)


def compile_bytecode(folder: Path) -> None:
    """Compile every module to unchecked hash-based bytecode (PEP 552): the root file system is read-only.

    Modules that an earlier layer compiled are skipped. compileall itself would compile them again: it recognises only time stamps.
    """
    for path in folder.rglob("*.py"):
        if not is_compiled(path):
            compileall.compile_file(path, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def is_compiled(path: Path) -> bool:
    """Return whether the bytecode of a module has the hash of its source."""
    bytecode = Path(cache_from_source(str(path)))
    return bytecode.exists() and bytecode.read_bytes()[8:16] == source_hash(path.read_bytes())


def write_layer(app: Path, layers: Path, name: str) -> None:
    """Copy files that are in no earlier layer into the layer `name`, with normalised modes and time stamps.

    Files whose order in a layer depends on the engine are left to a final layer.
    """
    root, earlier = layers / name, list(layers.glob("*"))
    root.mkdir(parents=True)
    files = [path for path in sorted(app.rglob("*")) if path.is_file() or path.is_symlink()]
    new = [path for path in files if not any(_has_same_content(path, layer / path.relative_to("/")) for layer in earlier)]
    folders = {folder for path in new for folder in path.parents}
    for path in new:
        if name in FINAL_LAYERS or not order_depends_on_engine(path, folders):
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target, follow_symlinks=False)
            if not path.is_symlink():
                target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    normalise_metadata(root)


def order_depends_on_engine(path: Path, folders: AbstractSet[Path]) -> bool:
    """Return whether the order of the path in a layer depends on how the engine lists files.

    Engines list the files of a layer either by whole path or folder by folder, and the order changes the layer's digest. The two orders
    differ if a name continues the name of a folder next to it with a character before the slash: click-8.5.dist-info sorts before
    click/core.py, but the folder click before click-8.5.dist-info.
    """
    return any(
        part.with_name(part.name[:end]) in folders
        for part in (path, *path.parents)
        for end in range(1, len(part.name))
        if part.name[end] < "/"
    )


def normalise_metadata(root: Path) -> None:
    """Set the same time stamp on everything under `root`, and mode 755 on every folder."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _has_same_content(path: Path, other: Path) -> bool:
    if path.is_symlink() or other.is_symlink():
        return path.is_symlink() and other.is_symlink() and path.readlink() == other.readlink()
    return other.is_file() and filecmp.cmp(path, other, shallow=False)


def main(app: Path, layers: Path, name: str, command: str | None = None) -> None:
    """Make one layer of what was installed since the last one."""
    remove_commands(app, command)
    remove_unneeded(app)
    compile_bytecode(app)
    write_layer(app, layers, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
