"""Makes a layer of what was just installed: trimmed, compiled, every time stamp the same. Standard library only: it runs inside the build.

`python assemble.py APP LAYERS NAME [COMMAND]`: what APP has and no layer in LAYERS yet goes to LAYERS/NAME. Of all the commands in APP
only COMMAND stays, and is found as `job` too.
"""

from __future__ import annotations

import compileall
import csv
import filecmp
import os
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

LAST = ("rest", "project")  # layers that take all that is left
EPOCH = 315532800  # 1980-01-01, the first day a zip file can hold; the same for every file of every image
AWS_APIS = {"s3", "sts", "secretsmanager", "ssm"}  # what jobkit asks; sts answers for the role of a container
AWS_APIS |= set(os.environ.get("MORE_AWS_APIS", "").split())
LOCALES = {"root.dat", "en.dat", "en_US.dat"}  # dbt writes numbers as Americans do
SOURCES = {".a", ".c", ".cc", ".cpp", ".h", ".hpp", ".pxd", ".pyi", ".pyx"}
BY_UV = {"_virtualenv.py", "_virtualenv.pth", ".lock", ".gitignore", "CACHEDIR.TAG", "direct_url.json", "uv_cache.json"}


def superfluous(app: Path) -> Iterator[Path]:
    """What no job needs: tests, headers, the interfaces of other AWS services, other languages, commands, uv's notes to itself."""
    (site,) = app.glob("lib/python*/site-packages")
    yield from (path for path in site.glob("botocore/data/*/") if path.is_dir() and path.name not in AWS_APIS)
    yield from (site / "boto3" / name for name in ("data", "examples"))
    yield from (path for path in site.glob("babel/locale-data/*.dat") if path.name not in LOCALES)
    yield from (path.parent for name in ("test", "tests") for path in site.rglob(f"{name}/__init__.py"))
    yield from (path for path in app.rglob("*") if path.suffix in SOURCES or path.name in BY_UV)
    yield from (app / name for name in ("include", "share"))


def keep_commands(app: Path, command: str | None) -> None:
    """Nothing; of the commands only Python and the job's own stay, which is also found as `job`."""
    for path in (app / "bin").iterdir():
        if not path.name.startswith("python") and path.name not in {command, "job"}:
            path.unlink()
    if command and (app / "bin" / command).exists() and not (app / "bin" / "job").is_symlink():
        (app / "bin" / "job").symlink_to(command)


def trim(app: Path) -> None:
    """Nothing; what is superfluous is gone, also from the packages' lists of their files."""
    for path in list(superfluous(app)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for record in app.rglob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as lines:
            kept = [row for row in csv.reader(lines) if (record.parent.parent / row[0]).exists()]
        with record.open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines, lineterminator="\n").writerows(kept)


def compile_bytecode(folder: Path) -> None:
    """Nothing; every module has bytecode that is taken without a look at its source: the root file system is read-only."""
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def split_off(app: Path, layers: Path, name: str) -> None:
    """Nothing; what `app` has and no layer yet is copied to the layer `name`, readable by all, with one time stamp.

    What is crowded waits for a later layer.
    """
    root, earlier = layers / name, list(layers.glob("*"))
    root.mkdir(parents=True)
    files = [path for path in sorted(app.rglob("*")) if path.is_file() or path.is_symlink()]
    new = [path for path in files if not any(_same(path, layer / path.relative_to("/")) for layer in earlier)]
    folders = {folder for path in new for folder in path.parents}
    for path in new:
        if name in LAST or not crowded(path, folders):
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target, follow_symlinks=False)
            if not path.is_symlink():
                target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    stamp(root)


def crowded(path: Path, folders: AbstractSet[Path]) -> bool:
    """Whether the path, or a folder it is in, stands beside a folder that sorts before it, and behind it once both have a slash.

    An engine lists the files of a layer now by their whole paths and now folder by folder, which gives the same files another digest:
    click-8.5.dist-info comes before click/core.py, and click before click-8.5.dist-info.
    """
    return any(
        part.with_name(part.name[:end]) in folders
        for part in (path, *path.parents)
        for end in range(1, len(part.name))
        if part.name[end] < "/"
    )


def stamp(root: Path) -> None:
    """Nothing; everything from `root` down has the same time and belongs to nobody in particular."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _same(path: Path, other: Path) -> bool:
    if path.is_symlink() or other.is_symlink():
        return path.is_symlink() and other.is_symlink() and path.readlink() == other.readlink()
    return other.is_file() and filecmp.cmp(path, other, shallow=False)


def main(app: Path, layers: Path, name: str, command: str | None = None) -> None:
    """One layer, from what was installed last."""
    keep_commands(app, command)
    trim(app)
    compile_bytecode(app)
    split_off(app, layers, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
