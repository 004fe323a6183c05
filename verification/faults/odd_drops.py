"""Drop files with hostile cells, which must be readable in quarantine, and entries that are not regular files."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import chdir
from typing import TYPE_CHECKING, NamedTuple

from jobkit.contracts import unescape_text
from jobkit.errors import ExitCode

from verification.faults import job_runs
from verification.faults.sample_restatements import HEADER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from verification.faults.sandbox import Sandbox

GOOD_ROWS = 60
PIECES = [
    b"\0",
    b"\xed\xa0\xbd",
    b"\xff",
    b"K\xf6ln",
    b"\\u0000",
    b"\\",
    b"u0041",
    b"''",
    b"{",
    b"}",
    b"\xe2\x80\xae",
    b"\x01",
    b"9" * 2000,
    b"%s",
]
INVALID_PIECES = [b"\0", b"\xff", b"\xed\xb0\x80", b"b" * 1001, b"m" * 1_000_000]
STORED = """
select dataset, row_number, raw_row::jsonb ->> 'account'
from raw._quarantine where known_to = 'infinity' and dataset = 'custodian_positions' and "partition" = %s
"""


class Outcome(NamedTuple):
    """The number of trials, and the violations."""

    trials: int
    violations: list[str]


def check_quarantine(sandbox: Sandbox, files: int, rng: random.Random) -> Outcome:
    """Pass a hostile cell in each of many files through the real jobs, and check that the quarantine has it unchanged."""
    drop, lake, docs, site = (sandbox.new_path(name) for name in ("drop", "lake", "docs", "site"))
    url = sandbox.create_database()
    sent = {f"Bank {number}": _random_cell(rng) for number in range(files)}
    (drop / "custodian_positions").mkdir(parents=True)
    for bank, cell in sent.items():
        rows = [*(b"A%d" % number for number in range(GOOD_ROWS)), b'"' + cell.replace(b'"', b'""') + b'"']
        body = b"".join(b"2013-06-28,%s,%s,US0378331005,10,1.5,15,USD\n" % (bank.encode(), account) for account in rows)
        (drop / "custodian_positions" / f"{bank.replace(' ', '-')}.csv").write_bytes(HEADER.encode() + body)
    warehouse = sandbox.warehouse_options(url)
    violations = []
    for job, options in (
        ("extract-ecb-fx-rates", ["--lake", str(lake), *sandbox.extract_options("extract-ecb-fx-rates")]),  # a site needs a market
        ("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)]),
        ("load-warehouse", ["--lake", str(lake), *warehouse]),
        ("transform-warehouse", [*sandbox.transform_options(url), "--docs", str(docs)]),
        ("publish-marts", [*warehouse, "--site", str(site), "--docs", str(docs)]),
    ):
        result = job_runs.run_job(job, options)
        if result.code:
            violations.append(f"{job} ended with {result.code}: {result.receipt and result.receipt['error']}")
            break
    else:
        violations += _find_differences(sandbox, url, sent)
    sandbox.drop_database(url)
    return Outcome(files, violations)


def _random_cell(rng: random.Random) -> bytes:
    """Build a cell that is not valid as a key."""
    pieces = [rng.choice(PIECES) for _ in range(rng.randint(0, 4))] + [rng.choice(INVALID_PIECES)]
    rng.shuffle(pieces)
    return b"".join(pieces)


def _find_differences(sandbox: Sandbox, url: str, sent: dict[str, bytes]) -> list[str]:
    """Find cells that differ from what was sent, and rows that the mart lacks."""
    violations = []
    with sandbox.connect(url) as connection:
        for bank, cell in sent.items():
            partition = f"custodian={hashlib.sha256(bank.encode()).hexdigest()[:16]}/position_date=2013-06-28"
            found = connection.execute(STORED.encode(), [partition]).fetchall()
            expected = cell.decode("utf-8", "surrogateescape").strip()
            if [(row[1], unescape_text(row[2]).strip()) for row in found] != [(GOOD_ROWS + 1, expected)]:
                violations.append(f"{partition}: {len(found)} rows, not the cell that was sent: {cell[:60]!r}")
        totals = connection.execute("select count(*), max(length(raw_row)) from marts.fct_quarantine").fetchone()
        if totals is None or totals[0] != len(sent):
            violations.append(f"the mart has {totals} of {len(sent)} rows")
    return violations


def check_odd_entries(sandbox: Sandbox, rounds: int) -> Outcome:
    """Drop pipes, links, sockets and odd names next to good files. None may block the job or be followed."""
    violations, trials = [], 0
    for _ in range(rounds):
        for kind, create in ODD_ENTRIES.items():
            drop, lake = sandbox.new_path("drop"), sandbox.new_path("lake")
            folder = drop / "custodian_positions"
            folder.mkdir(parents=True)
            (drop.with_suffix(".secret")).write_text(job_runs.TOKEN)
            (folder / "good.csv").write_text(f"{HEADER}2013-06-28,Bank,A1,US0378331005,10,1.5,15,USD\n")
            create(folder / "odd.csv", drop.with_suffix(".secret"))
            result = job_runs.wait_for_job(
                job_runs.start_job("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)]), timeout_s=120
            )
            trials += 1
            outcomes = sorted(part["outcome"] for part in result.receipt["partitions"]) if result.receipt else []
            contents = [
                path.read_bytes() for place in (drop, lake) for path in place.rglob("*") if path.is_file() and not path.is_symlink()
            ]
            is_leaked = job_runs.TOKEN in result.stdout + result.stderr or any(
                job_runs.TOKEN.encode() in content for content in contents[1:]
            )
            if result.code != ExitCode.BAD_DATA or outcomes != ["committed", "failed"]:
                violations.append(f"{kind}: ended with {result.code} and {outcomes}")
            if kind != "hard link" and is_leaked:
                violations.append(f"{kind}: what lies elsewhere was read")
            if any(path.name.endswith(".lock") for path in drop.rglob(".*")):
                violations.append(f"{kind}: a lock file stays")
    return Outcome(trials, violations)


def _create_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound, chdir(path.parent):  # the path of a socket is limited to 107 bytes
        bound.bind(path.name)


ODD_ENTRIES: dict[str, Callable[[Path, Path], object]] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "symbolic link": lambda path, secret: path.symlink_to(secret),
    "symbolic link to a folder": lambda path, secret: path.symlink_to(secret.parent),
    "hard link": lambda path, secret: os.link(secret, path),
    "socket": lambda path, _: _create_socket(path),
    "long name": lambda path, _: path.with_name("n" * 240 + ".csv").write_text("x"),
    "name of other bytes": lambda path, _: path.with_name(os.fsdecode(b"K\xf6ln.csv")).write_text("x"),
}
