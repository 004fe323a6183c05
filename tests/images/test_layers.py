"""A layer is reproducible and has only what a job needs; a hardened base has no installer."""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from images import assemble, harden
from jobs.catalogue import REPOSITORY


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An environment as uv leaves it."""
    site = tmp_path / "app/lib/python3.11/site-packages"
    for name in (
        "botocore/data/s3/2006-03-01/service-2.json",
        "botocore/data/ec2/2016-11-15/service-2.json",
        "botocore/data/endpoints.json",
        "babel/locale-data/en_US.dat",
        "babel/locale-data/de.dat",
        "pandas/core.py",
        "pandas/tests/__init__.py",
        "pandas/core.pyi",
        "dbt/include/tests/generic/unique.sql",
        "pandas-1.dist-info/direct_url.json",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("")
    (site / "pandas-1.dist-info/RECORD").write_text("pandas/core.py,,\npandas/core.pyi,,\n../../../bin/httpx,,\n")
    for name in ("python", "extract-it", "httpx", "activate"):
        (tmp_path / "app/bin").mkdir(exist_ok=True)
        (tmp_path / "app/bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "app/bin" / name).chmod(0o755)
    return tmp_path / "app"


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_a_layer_has_only_what_a_job_needs(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    root = tmp_path / "layers/job" / app.relative_to("/")
    site = root / "lib/python3.11/site-packages"
    assert files(root / "bin") == {"python", "extract-it", "job"}
    assert (root / "bin/job").readlink().name == "extract-it"
    assemble.main(app, tmp_path / "layers", "rest", "extract-it")
    final = tmp_path / "layers/rest" / app.relative_to("/") / "lib/python3.11/site-packages"
    assert {path for path in files(site) | files(final) if "__pycache__" not in path} == {
        "botocore/data/s3/2006-03-01/service-2.json",
        "botocore/data/endpoints.json",
        "babel/locale-data/en_US.dat",
        "pandas/core.py",
        "dbt/include/tests/generic/unique.sql",
        "pandas-1.dist-info/RECORD",
    }
    assert (final / "pandas-1.dist-info/RECORD").read_text() == "pandas/core.py,,\n"


def test_bytecode_is_hash_based_and_unchecked(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "job")
    (bytecode,) = (tmp_path / "layers").rglob("core.*.pyc")
    assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == 0b01  # PEP 552: hash-based, unchecked


def test_only_new_and_changed_modules_are_compiled(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_file = compileall.compile_file

    def compile_and_record(path: Path, **options: Any) -> bool:
        compiled.append(Path(path).name)
        return bool(compile_file(path, **options))

    assemble.main(app, tmp_path / "layers", "job")
    monkeypatch.setattr(compileall, "compile_file", compile_and_record)
    (app / "new.py").write_text("a = 1\n")
    (app / "lib/python3.11/site-packages/pandas/core.py").write_text("b = 2\n")
    assemble.main(app, tmp_path / "layers", "rest")
    assert sorted(compiled) == ["core.py", "new.py"]


def test_a_layer_has_one_time_stamp_and_is_world_readable(app: Path, tmp_path: Path) -> None:
    (app / "lib/python3.11/site-packages/pandas/core.py").chmod(0o600)
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    below = list((tmp_path / "layers/job").rglob("*"))
    assert {path.lstat().st_mtime for path in below} == {assemble.EPOCH}
    assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_file()} == {0o644, 0o755}
    assert {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_dir()} == {0o755}


def test_a_later_layer_has_only_new_files(app: Path, tmp_path: Path) -> None:
    assemble.main(app, tmp_path / "layers", "runtime")
    (app / "new.txt").write_text("x")
    assemble.main(app, tmp_path / "layers", "job", "extract-it")
    waited = "lib/python3.11/site-packages/pandas-1.dist-info/RECORD"
    assert files(tmp_path / "layers/job" / app.relative_to("/")) == {"new.txt", waited}
    assemble.main(app, tmp_path / "layers", "nothing", "extract-it")
    assert files(tmp_path / "layers/nothing") == set()


def test_the_order_of_a_layers_files_is_the_same_by_path_and_by_folder(app: Path, tmp_path: Path) -> None:
    """Engines list them now one way and now the other, and the order is part of a layer's digest."""
    for name in ("pandas.libs/a.so", "pandas/io/b.py", "pandas/io.py", "pandas-extra/c.py"):
        path = app / "lib/python3.11/site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    names, layers = ("runtime", "job", "rest"), tmp_path / "layers"
    for name in names:
        assemble.main(app, layers, name)
        paths = [path.relative_to(layers / name) for path in (layers / name).rglob("*")]
        assert sorted(paths, key=lambda path: path.parts) == sorted(paths, key=lambda path: path.as_posix()), name
    inside = [files(layers / name / app.relative_to("/")) for name in names]
    assert set().union(*inside) == files(app)
    assert sum(map(len, inside)) == len(files(app))


def test_a_hardened_base_has_no_installer_and_no_setuid_program(tmp_path: Path) -> None:
    library = tmp_path / "usr/local/lib/python3.13"
    for name in (
        "usr/local/lib/python3.13/json/__init__.py",
        "usr/local/lib/python3.13/ensurepip/__init__.py",
        "usr/local/lib/python3.13/idlelib/idle.py",
        "usr/local/lib/python3.13/site-packages/pip/__init__.py",
        "usr/local/lib/python3.13/site-packages/pip-25.dist-info/RECORD",
        "usr/local/lib/python3.13/site-packages/mine.py",
        "usr/local/bin/pip3.13",
        "usr/lib/python3/dist-packages/setuptools/__init__.py",
        "usr/bin/su",
        "usr/bin/env",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "usr/bin/su").chmod(0o4755)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.utime(path, (1, 1))
    harden.harden(tmp_path, library)
    assert {path for path in files(tmp_path) if "__pycache__" not in path} == {
        "usr/local/lib/python3.13/json/__init__.py",
        "usr/local/lib/python3.13/idlelib/idle.py",
        "usr/local/lib/python3.13/site-packages/mine.py",
        "usr/bin/su",
        "usr/bin/env",
    }
    assert stat.S_IMODE((tmp_path / "usr/bin/su").stat().st_mode) == 0o755
    assert {path.parent.parent.name for path in tmp_path.rglob("*.pyc")} == {"json"}
    assert {path.stat().st_mtime for path in tmp_path.rglob("*")} == {1, harden.EPOCH}


def test_the_ca_file_has_the_public_cas_of_the_base_and_those_of_rds(tmp_path: Path) -> None:
    """OpenSSL reads it, and no Beta or Preview region is in it."""
    public = tmp_path / harden.PUBLIC_CA
    public.parent.mkdir(parents=True)
    (own, *_) = ssl.create_default_context().get_ca_certs(binary_form=True)
    public.write_text(ssl.DER_cert_to_PEM_cert(own))
    harden.write_ca_file(tmp_path, REPOSITORY / "images" / "rds-ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / harden.CA_FILE))
    names = [dict(part for parts in entry["subject"] for part in parts)["commonName"] for entry in context.get_ca_certs()]
    regions = {match[1] for name in names if (match := re.fullmatch(r"Amazon RDS (\S+) Root CA \w+ G1", str(name)))}
    assert own in context.get_ca_certs(binary_form=True)
    assert {"eu-central-1", "eu-west-1", "us-east-1"} <= regions
    assert len(names) == 3 * len(regions) + 1


def test_hardening_adds_missing_bytecode_and_keeps_the_rest(tmp_path: Path) -> None:
    """The official images have that of the few modules somebody imported while they were made."""
    for name in ("a.py", "b.py", "c/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    there = Path(py_compile.compile(str(tmp_path / "a.py")) or "")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        if path.name != "a.py":
            os.utime(path, (1, 1))
    harden.compile_library(tmp_path, tmp_path)
    added = set(tmp_path.rglob("*.pyc")) - {there}
    assert sorted(path.name.partition(".")[0] for path in added) == ["__init__", "b"]
    assert {path.stat().st_mtime for path in added} == {harden.EPOCH}
    assert there.stat().st_mtime == there.parent.stat().st_mtime == tmp_path.stat().st_mtime == 1
