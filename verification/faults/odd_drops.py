"""Hostile cells of dropped files, which have to be readable in quarantine to the end, and what lies in a drop that is no file."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import chdir
from typing import TYPE_CHECKING, NamedTuple

from jobkit.contract import unescape_text

from verification.faults import sandbox
from verification.faults.sample_restatements import HEADER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from verification.faults.sandbox import Stage

GOOD_ROWS, BAD_DATA = 60, 65
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
SURELY_BAD = [b"\0", b"\xff", b"\xed\xb0\x80", b"b" * 1001, b"m" * 1_000_000]
STORED = """
select dataset, row_number, raw_row::jsonb ->> 'account'
from raw._quarantine where known_to = 'infinity' and dataset = 'custodian_positions' and "partition" = %s
"""


class Seen(NamedTuple):
    """How many were tried, and what went wrong."""

    trials: int
    wrong: list[str]


def quarantine_round_trip(stage: Stage, files: int, rng: random.Random) -> Seen:
    """A hostile cell in each of many dropped files: taken, loaded, transformed and published by the real jobs, and there as it was sent."""
    drop, lake, docs, site = (stage.fresh(name) for name in ("drop", "lake", "docs", "site"))
    url = stage.database()
    sent = {f"Bank {number}": _hostile(rng) for number in range(files)}
    (drop / "custodian_positions").mkdir(parents=True)
    for bank, cell in sent.items():
        rows = [*(b"A%d" % number for number in range(GOOD_ROWS)), b'"' + cell.replace(b'"', b'""') + b'"']
        body = b"".join(b"2013-06-28,%s,%s,US0378331005,10,1.5,15,USD\n" % (bank.encode(), account) for account in rows)
        (drop / "custodian_positions" / f"{bank.replace(' ', '-')}.csv").write_bytes(HEADER.encode() + body)
    warehouse = stage.warehouse(url)
    wrong = []
    for job, options in (
        ("extract-ecb-fx-rates", ["--lake", str(lake), *stage.asks("extract-ecb-fx-rates")]),  # a site has a market
        ("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)]),
        ("load-warehouse", ["--lake", str(lake), *warehouse]),
        ("transform-warehouse", [*warehouse, "--docs", str(docs)]),
        ("publish-marts", [*warehouse, "--site", str(site), "--docs", str(docs)]),
    ):
        done = sandbox.run(job, options)
        if done.code:
            wrong.append(f"{job} ended with {done.code}: {done.receipt and done.receipt['error']}")
            break
    else:
        wrong += _stored_otherwise(stage, url, sent)
    stage.drop(url)
    return Seen(files, wrong)


def _hostile(rng: random.Random) -> bytes:
    """A cell that no text of a key can be."""
    pieces = [rng.choice(PIECES) for _ in range(rng.randint(0, 4))] + [rng.choice(SURELY_BAD)]
    rng.shuffle(pieces)
    return b"".join(pieces)


def _stored_otherwise(stage: Stage, url: str, sent: dict[str, bytes]) -> list[str]:
    """Cells that the warehouse does not have as they were sent, and rows that the mart does not have."""
    wrong = []
    with stage.connect(url) as connection:
        for bank, cell in sent.items():
            partition = f"custodian={hashlib.sha256(bank.encode()).hexdigest()[:16]}/position_date=2013-06-28"
            found = connection.execute(STORED.encode(), [partition]).fetchall()
            expected = cell.decode("utf-8", "surrogateescape").strip()
            if [(row[1], unescape_text(row[2]).strip()) for row in found] != [(GOOD_ROWS + 1, expected)]:
                wrong.append(f"{partition}: {len(found)} rows, not the cell that was sent: {cell[:60]!r}")
        counted = connection.execute("select count(*), max(length(raw_row)) from marts.fct_quarantine").fetchone()
        if counted is None or counted[0] != len(sent):
            wrong.append(f"the mart has {counted} of {len(sent)} rows")
    return wrong


def odd_drops(stage: Stage, rounds: int) -> Seen:
    """Pipes, links, sockets and odd names among good files: none is waited for or followed, all else is taken."""
    wrong, trials = [], 0
    for _ in range(rounds):
        for kind, lie in ODD.items():
            drop, lake = stage.fresh("drop"), stage.fresh("lake")
            folder = drop / "custodian_positions"
            folder.mkdir(parents=True)
            (drop.with_suffix(".secret")).write_text(sandbox.TOKEN)
            (folder / "good.csv").write_text(f"{HEADER}2013-06-28,Bank,A1,US0378331005,10,1.5,15,USD\n")
            lie(folder / "odd.csv", drop.with_suffix(".secret"))
            done = sandbox.ended(sandbox.start("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)]), within_s=120)
            trials += 1
            outcomes = sorted(part["outcome"] for part in done.receipt["partitions"]) if done.receipt else []
            kept = [path.read_bytes() for place in (drop, lake) for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
            leaked = sandbox.TOKEN in done.stdout + done.stderr or any(sandbox.TOKEN.encode() in content for content in kept[1:])
            if done.code != BAD_DATA or outcomes != ["committed", "failed"]:
                wrong.append(f"{kind}: ended with {done.code} and {outcomes}")
            if kind != "hard link" and leaked:
                wrong.append(f"{kind}: what lies elsewhere was read")
            if any(path.name.endswith(".lock") for path in drop.rglob(".*")):
                wrong.append(f"{kind}: a lock file stays")
    return Seen(trials, wrong)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound, chdir(path.parent):  # a socket's path has 107 bytes at most
        bound.bind(path.name)


ODD: dict[str, Callable[[Path, Path], object]] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "symbolic link": lambda path, secret: path.symlink_to(secret),
    "symbolic link to a folder": lambda path, secret: path.symlink_to(secret.parent),
    "hard link": lambda path, secret: os.link(secret, path),
    "socket": lambda path, _: _socket(path),
    "long name": lambda path, _: path.with_name("n" * 240 + ".csv").write_text("x"),
    "name of other bytes": lambda path, _: path.with_name(os.fsdecode(b"K\xf6ln.csv")).write_text("x"),
}
