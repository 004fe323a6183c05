"""What may not be published is published nowhere: terms and lineages at random, and confidential rows with canaries in every cell."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from psycopg import sql
from publish_marts import terms
from transform_warehouse import lineage

from verification.faults import sandbox

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt.contracts.graph.manifest import Manifest
    from publish_marts.terms import Audience

    from verification.faults.sandbox import Stage

# Written out, and not computed as the job does it.
ALLOWED = {
    ("internal", "public", "allowed"),
    ("internal", "public", "internal-use-only"),
    ("internal", "internal", "allowed"),
    ("internal", "internal", "internal-use-only"),
    ("public", "public", "allowed"),
}
WORDS = {
    "classification": ("public", "public", "internal", "confidential", None, "Public", "secret", 1, True, ["public"]),
    "redistribution": ("allowed", "allowed", "internal-use-only", None, "yes", "internal use only"),
}
FAULTY = (0, 4, 5, 6)  # columns whose faults are a row's; others refuse the file
COLUMNS = ("position_date", "custodian", "account", "isin", "quantity", "price", "market_value", "currency")
CANARY, DIGITS = "ZQ7canary", "7316519"
ROWS, BAD = 200, 3
JOBS = ("load-warehouse", "transform-warehouse", "publish-marts")
SEEN = """
select n.nspname::text, c.relname::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('marts', 'as_of') and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    and (n.nspname = 'marts' or c.relname ~ '^(dim|fct)_')
"""


class Node(NamedTuple):
    """A node of a graph: what it stands on, and what it declares."""

    kind: str
    name: str
    above: tuple[str, ...]
    meta: dict[str, Any]


def rule(trials: int, rng: random.Random) -> Iterator[str]:
    """Decide on random graphs and terms, and compare with the rule as people say it; a sentence for each difference."""
    for trial in range(trials):
        graph = _graph(rng)
        found = lineage.describe_lineage(_manifest(graph), {}, ())
        marts = {name: ["dataset"] if rng.random() < 0.8 else ["a"] for name in found["marts"]}  # noqa: PLR2004  four of five have it
        for audience in terms.AUDIENCES:
            decided = terms.decide(json.loads(json.dumps(found)), marts, audience)
            expected = {name for name, columns in marts.items() if _may_be(graph, f"model.{name}", columns, audience)}
            if set(decided.marts) != expected or set(decided.left_out) != set(marts) - expected:
                yield f"trial {trial}, audience {audience}: published {sorted(decided.marts)}, expected {sorted(expected)}"
            rows = {node.name for node in graph.values() if node.kind == "source" and _allows(node, audience)}
            if set(decided.datasets) != rows or not all(decided.left_out.values()):
                yield f"trial {trial}, audience {audience}: rows of {sorted(decided.datasets)}, expected {sorted(rows)}"


def _graph(rng: random.Random) -> dict[str, Node]:
    """Sources and seeds with terms or without, models on them and on each other, marts."""
    nodes = [Node("source", f"d{number}", (), _terms(rng)) for number in range(rng.randint(1, 6))]
    nodes += [Node("seed", f"s{number}", (), _terms(rng) if rng.random() < 0.3 else {}) for number in range(rng.randint(0, 3))]  # noqa: PLR2004
    nodes.append(Node("source", "_ledger", (), {"rows_of": "every dataset"}))
    for kind, count in (("model", rng.randint(1, 8)), ("mart", rng.randint(1, 5))):
        for number in range(count):
            above = rng.sample(nodes, min(len(nodes), rng.randint(0, 3)))
            meta: dict[str, Any] = {"adds_no_values": True} if kind == "model" and rng.random() < 0.1 else {}  # noqa: PLR2004
            if kind == "mart" and rng.random() < 0.3:  # noqa: PLR2004
                meta["published_by"] = rng.choice(["dataset", "dataset", "dataset", "row"])
            nodes.append(Node(kind, f"{kind}{number}", tuple(_id(node) for node in above), meta))
    return {_id(node): node for node in nodes}


def _terms(rng: random.Random) -> dict[str, Any]:
    chosen = {name: rng.choice(words) for name, words in WORDS.items()}
    return {name: value for name, value in chosen.items() if value is not None}


def _id(node: Node) -> str:
    return f"{'model' if node.kind == 'mart' else node.kind}.{node.name}"


def _manifest(graph: dict[str, Node]) -> Manifest:
    made = {
        unique_id: SimpleNamespace(
            unique_id=unique_id,
            resource_type=unique_id.partition(".")[0],
            name=node.name,
            alias=node.name,
            identifier=node.name,
            schema="marts" if node.kind == "mart" else "raw" if node.kind == "source" else "staging",
            depends_on_nodes=list(node.above),
            config=SimpleNamespace(meta=node.meta),
            source_description="",
        )
        for unique_id, node in graph.items()
    }
    sources = {unique_id: node for unique_id, node in made.items() if node.resource_type == "source"}
    return cast("Manifest", SimpleNamespace(sources=sources, nodes={name: node for name, node in made.items() if name not in sources}))


def _may_be(graph: dict[str, Node], mart: str, columns: Sequence[str], audience: Audience) -> bool:
    """Whether a mart may be published: all that it stands on may, or all seeds where its rows are told apart by dataset."""
    behind, by = _behind(graph, mart), graph[mart].meta.get("published_by")
    if by == "dataset":
        some = any(_allows(node, audience) for node in graph.values() if node.kind == "source")
        return some and "dataset" in columns and all(_allows(node, audience) for node in behind if node.kind == "seed")
    return by is None and all(_allows(node, audience) for node in behind)


def _behind(graph: dict[str, Node], name: str) -> list[Node]:
    found: list[Node] = []
    for above in graph[name].above:
        node = graph[above]
        if node.kind in ("source", "seed"):
            found.append(node)
        elif not node.meta.get("adds_no_values"):
            found += _behind(graph, above)
    return found


def _allows(node: Node, audience: Audience) -> bool:
    stated = {"classification": "public", "redistribution": "allowed", **node.meta} if node.kind == "seed" else node.meta
    classification, redistribution = stated.get("classification"), stated.get("redistribution")
    texts = isinstance(classification, str) and isinstance(redistribution, str)
    return "rows_of" not in stated and texts and (audience, classification, redistribution) in ALLOWED


def confidential(stage: Stage, trials: int, rng: random.Random) -> Iterator[str]:
    """Drop files whose every cell is a canary, good, bad and broken ones; a sentence for each place where one is seen afterwards."""
    lake, site, url = stage.fresh("lake"), stage.fresh("site"), stage.database()
    for trial in range(trials):
        drop = stage.fresh("drop")
        for number, text in enumerate(_files(rng)):
            path = drop / "custodian_positions" / f"bank-{trial}-{number}.{'jsonl' if text.startswith('{') else 'csv'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield from _seen_in("extract-dropped-files", sandbox.run("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)]))
        given = {"load-warehouse": ["--lake", str(lake)], "transform-warehouse": [], "publish-marts": ["--site", str(site)]}
        for job in JOBS:
            done = sandbox.run(job, [*stage.warehouse(url), *given[job]])
            yield from _seen_in(job, done)
            if done.code:
                yield f"{job} ended with {done.code}: {done.receipt and done.receipt['error']}"
        with stage.connect(url) as connection:
            for schema, name in connection.execute(SEEN.encode()).fetchall():
                query = sql.SQL("select coalesce(string_agg(whole::text, ' '), '') from {} as whole").format(sql.Identifier(schema, name))
                yield from _seen_in(f"{schema}.{name}", *connection.execute(query).fetchall()[0])
            quarantined = "select count(*) from raw._quarantine where raw_row::text like %s"
            [(held,)] = connection.execute(quarantined.encode(), [f"%{CANARY}%"]).fetchall()
            if not held:
                yield "no canary is in quarantine, so that nothing was tried"
        yield from _seen_in("the site", *(path.read_text(encoding="utf-8", errors="replace") for path in _paths(site)))
    yield from _withdrawn(site)
    stage.drop(url)


def _files(rng: random.Random) -> Iterator[str]:
    """A file with a few bad rows, one with too many, and some that are no whole file."""
    for bad in (BAD, ROWS):
        rows = [_row(rng, number) for number in range(ROWS)]
        for row in rng.sample(rows, bad):
            for at in rng.sample(FAULTY, rng.randint(1, 3)):
                row[at] = rng.choice([CANARY, f"{DIGITS}.{DIGITS}1", f"-{DIGITS}", f"'{CANARY}; '", f"{CANARY}\u2028=1+1"])
        yield "\n".join(",".join(row) for row in ([*COLUMNS], *rows)) + "\n"
    line = ",".join(_row(rng, 1))
    yield f"{line}\n{line}\n"
    yield f"{CANARY},{CANARY}\n1,2\n"
    yield f"{','.join(COLUMNS)}\n{line},{CANARY}\n"
    yield json.dumps(dict(zip(COLUMNS, _row(rng, 1), strict=True))) + f'\n{{"account": "{CANARY}'
    yield json.dumps({CANARY: DIGITS}) + "\n"


def _row(rng: random.Random, number: int) -> list[str]:
    """A row that keeps the contract: all but day, security and currency are canaries."""
    isin = rng.choice(["US0378331005", "US4592001014", "DE0007164600"])
    return ["2012-12-31", CANARY, f"{CANARY}-{number}", isin, f"{DIGITS}{number:03}", "1", f"{DIGITS}{number:03}", "USD"]


def _paths(site: Path) -> list[Path]:
    return [path for path in site.rglob("*") if path.is_file()]


def _seen_in(where: str, *seen: str | sandbox.Ended) -> Iterator[str]:
    for one in seen:
        text = one if isinstance(one, str) else one.stdout + one.stderr
        for canary in (CANARY, DIGITS):
            if canary in text:
                at = text.index(canary)
                yield f"{where} shows a confidential value: {text[max(at - 80, 0) : at + 40]!r}"


def _withdrawn(site: Path) -> Iterator[str]:
    """What is left of a mart, and of all, after each was withdrawn, twice."""
    for words, gone in ((["--mart", "fct_quarantine"], "fct_quarantine."), ([], "")):
        for _ in range(2):
            command = [sys.executable, "-m", "publish_marts.site", "withdraw", "--site", str(site), "--all", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own
            left = [path for path in _paths(site / "v") if path.name.startswith(gone)]
            if done.returncode or left:
                yield f"withdraw {' '.join(words)} ended with {done.returncode} and left {len(left)} files: {done.stderr[-300:]}"
