"""Check that restricted data is not published: random terms and lineages, and confidential files with a canary in every cell."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from psycopg import sql
from publish_marts import terms
from transform_warehouse import lineage

from verification.faults import job_runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt.contracts.graph.manifest import Manifest
    from publish_marts.terms import Audience

    from verification.faults.sandbox import Sandbox

# Written out, so that it does not repeat the job's computation.
ALLOWED = {
    ("internal", "public", "allowed"),
    ("internal", "public", "internal-use-only"),
    ("internal", "internal", "allowed"),
    ("internal", "internal", "internal-use-only"),
    ("public", "public", "allowed"),
}
TERM_VALUES = {
    "classification": ("public", "public", "internal", "confidential", None, "Public", "secret", 1, True, ["public"]),
    "redistribution": ("allowed", "allowed", "internal-use-only", None, "yes", "internal use only"),
}
QUARANTINED_COLUMNS = (0, 4, 5, 6)  # columns whose bad values quarantine a row; others refuse the whole file
COLUMNS = ("position_date", "custodian", "account", "isin", "quantity", "price", "market_value", "currency")
CANARY, DIGITS = "ZQ7canary", "7316519"
ROWS, BAD_ROWS = 200, 3
JOBS = ("load-warehouse", "transform-warehouse", "publish-marts")
VISIBLE_RELATIONS = """
select n.nspname::text, c.relname::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('marts', 'as_of') and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    and (n.nspname = 'marts' or c.relname ~ '^(dim|fct)_')
"""


class Node(NamedTuple):
    """A node of a lineage graph: what it depends on, and what it declares."""

    kind: str
    name: str
    depends_on: tuple[str, ...]
    meta: dict[str, Any]


def check_rule(trials: int, rng: random.Random) -> Iterator[str]:
    """Compare the job's decisions on random graphs and terms with the rule. Yield a violation for each difference."""
    for trial in range(trials):
        graph = _random_graph(rng)
        found = lineage.describe_lineage(_build_manifest(graph), {}, ())
        marts = {name: ["dataset"] if rng.random() < 0.8 else ["a"] for name in found["marts"]}  # noqa: PLR2004  four of five marts have it
        for audience in terms.AUDIENCES:
            permission = terms.decide_permission(json.loads(json.dumps(found)), marts, audience)
            expected = {name for name, columns in marts.items() if _may_publish(graph, f"model.{name}", columns, audience)}
            if set(permission.marts) != expected or set(permission.left_out) != set(marts) - expected:
                yield f"trial {trial}, audience {audience}: published {sorted(permission.marts)}, expected {sorted(expected)}"
            rows = {node.name for node in graph.values() if node.kind == "source" and _allows(node, audience)}
            if set(permission.datasets) != rows or not all(permission.left_out.values()):
                yield f"trial {trial}, audience {audience}: rows of {sorted(permission.datasets)}, expected {sorted(rows)}"


def _random_graph(rng: random.Random) -> dict[str, Node]:
    """Build a graph of sources and seeds with or without terms, models and marts."""
    nodes = [Node("source", f"d{number}", (), _random_terms(rng)) for number in range(rng.randint(1, 6))]
    nodes += [Node("seed", f"s{number}", (), _random_terms(rng) if rng.random() < 0.3 else {}) for number in range(rng.randint(0, 3))]  # noqa: PLR2004
    nodes.append(Node("source", "_ledger", (), {"rows_of": "every dataset"}))
    for kind, count in (("model", rng.randint(1, 8)), ("mart", rng.randint(1, 5))):
        for number in range(count):
            depends_on = rng.sample(nodes, min(len(nodes), rng.randint(0, 3)))
            meta: dict[str, Any] = {"adds_no_values": True} if kind == "model" and rng.random() < 0.1 else {}  # noqa: PLR2004
            if kind == "mart" and rng.random() < 0.3:  # noqa: PLR2004
                meta["published_by"] = rng.choice(["dataset", "dataset", "dataset", "row"])
            nodes.append(Node(kind, f"{kind}{number}", tuple(_node_id(node) for node in depends_on), meta))
    return {_node_id(node): node for node in nodes}


def _random_terms(rng: random.Random) -> dict[str, Any]:
    chosen = {name: rng.choice(values) for name, values in TERM_VALUES.items()}
    return {name: value for name, value in chosen.items() if value is not None}


def _node_id(node: Node) -> str:
    return f"{'model' if node.kind == 'mart' else node.kind}.{node.name}"


def _build_manifest(graph: dict[str, Node]) -> Manifest:
    nodes = {
        unique_id: SimpleNamespace(
            unique_id=unique_id,
            resource_type=unique_id.partition(".")[0],
            name=node.name,
            alias=node.name,
            identifier=node.name,
            schema="marts" if node.kind == "mart" else "raw" if node.kind == "source" else "staging",
            depends_on_nodes=list(node.depends_on),
            config=SimpleNamespace(meta=node.meta),
            source_description="",
        )
        for unique_id, node in graph.items()
    }
    sources = {unique_id: node for unique_id, node in nodes.items() if node.resource_type == "source"}
    return cast("Manifest", SimpleNamespace(sources=sources, nodes={name: node for name, node in nodes.items() if name not in sources}))


def _may_publish(graph: dict[str, Node], mart: str, columns: Sequence[str], audience: Audience) -> bool:
    """Apply the rule: everything the mart depends on must allow it; if it is published by dataset, only its seeds must."""
    inputs, by = _list_inputs(graph, mart), graph[mart].meta.get("published_by")
    if by == "dataset":
        some = any(_allows(node, audience) for node in graph.values() if node.kind == "source")
        return some and "dataset" in columns and all(_allows(node, audience) for node in inputs if node.kind == "seed")
    return by is None and all(_allows(node, audience) for node in inputs)


def _list_inputs(graph: dict[str, Node], name: str) -> list[Node]:
    found: list[Node] = []
    for depends_on in graph[name].depends_on:
        node = graph[depends_on]
        if node.kind in ("source", "seed"):
            found.append(node)
        elif not node.meta.get("adds_no_values"):
            found += _list_inputs(graph, depends_on)
    return found


def _allows(node: Node, audience: Audience) -> bool:
    stated = {"classification": "public", "redistribution": "allowed", **node.meta} if node.kind == "seed" else node.meta
    classification, redistribution = stated.get("classification"), stated.get("redistribution")
    texts = isinstance(classification, str) and isinstance(redistribution, str)
    return "rows_of" not in stated and texts and (audience, classification, redistribution) in ALLOWED


def check_confidential_files(sandbox: Sandbox, trials: int, rng: random.Random) -> Iterator[str]:
    """Drop good, bad and broken files with a canary in every cell. Yield each place where one appears afterwards."""
    lake, site, url = sandbox.new_path("lake"), sandbox.new_path("site"), sandbox.create_database()
    for trial in range(trials):
        drop = sandbox.new_path("drop")
        for number, text in enumerate(_build_files(rng)):
            path = drop / "custodian_positions" / f"bank-{trial}-{number}.{'jsonl' if text.startswith('{') else 'csv'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield from _find_canaries(
            "extract-dropped-files", job_runs.run_job("extract-dropped-files", ["--lake", str(lake), "--drop", str(drop)])
        )
        job_options = {"load-warehouse": ["--lake", str(lake)], "transform-warehouse": [], "publish-marts": ["--site", str(site)]}
        for job in JOBS:
            result = job_runs.run_job(job, [*sandbox.warehouse_options(url), *job_options[job]])
            yield from _find_canaries(job, result)
            if result.code:
                yield f"{job} ended with {result.code}: {result.receipt and result.receipt['error']}"
        with sandbox.connect(url) as connection:
            for schema, name in connection.execute(VISIBLE_RELATIONS.encode()).fetchall():
                query = sql.SQL("select coalesce(string_agg(whole::text, ' '), '') from {} as whole").format(sql.Identifier(schema, name))
                yield from _find_canaries(f"{schema}.{name}", *connection.execute(query).fetchall()[0])
            quarantined = "select count(*) from raw._quarantine where raw_row::text like %s"
            [(count,)] = connection.execute(quarantined.encode(), [f"%{CANARY}%"]).fetchall()
            if not count:
                yield "no canary is in quarantine, so that nothing was tried"
        yield from _find_canaries("the site", *(path.read_text(encoding="utf-8", errors="replace") for path in _list_files(site)))
    yield from _check_withdrawal(site)
    sandbox.drop_database(url)


def _build_files(rng: random.Random) -> Iterator[str]:
    """Build a file with a few bad rows, one with too many, and some that are incomplete."""
    for bad in (BAD_ROWS, ROWS):
        rows = [_build_row(rng, number) for number in range(ROWS)]
        for row in rng.sample(rows, bad):
            for index in rng.sample(QUARANTINED_COLUMNS, rng.randint(1, 3)):
                row[index] = rng.choice([CANARY, f"{DIGITS}.{DIGITS}1", f"-{DIGITS}", f"'{CANARY}; '", f"{CANARY}\u2028=1+1"])
        yield "\n".join(",".join(row) for row in ([*COLUMNS], *rows)) + "\n"
    line = ",".join(_build_row(rng, 1))
    yield f"{line}\n{line}\n"
    yield f"{CANARY},{CANARY}\n1,2\n"
    yield f"{','.join(COLUMNS)}\n{line},{CANARY}\n"
    yield json.dumps(dict(zip(COLUMNS, _build_row(rng, 1), strict=True))) + f'\n{{"account": "{CANARY}'
    yield json.dumps({CANARY: DIGITS}) + "\n"


def _build_row(rng: random.Random, number: int) -> list[str]:
    """Build a valid row in which all cells but date, security and currency are canaries."""
    isin = rng.choice(["US0378331005", "US4592001014", "DE0007164600"])
    return ["2012-12-31", CANARY, f"{CANARY}-{number}", isin, f"{DIGITS}{number:03}", "1", f"{DIGITS}{number:03}", "USD"]


def _list_files(site: Path) -> list[Path]:
    return [path for path in site.rglob("*") if path.is_file()]


def _find_canaries(where: str, *outputs: str | job_runs.JobResult) -> Iterator[str]:
    for output in outputs:
        text = output if isinstance(output, str) else output.stdout + output.stderr
        for canary in (CANARY, DIGITS):
            if canary in text:
                index = text.index(canary)
                yield f"{where} shows a confidential value: {text[max(index - 80, 0) : index + 40]!r}"


def _check_withdrawal(site: Path) -> Iterator[str]:
    """Withdraw a mart, then everything, twice each, and yield what remains."""
    for values, prefix in ((["--mart", "fct_quarantine"], "fct_quarantine."), ([], "")):
        for _ in range(2):
            command = [sys.executable, "-m", "publish_marts.site", "withdraw", "--site", str(site), "--all", *values]
            result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own
            remaining = [path for path in _list_files(site / "v") if path.name.startswith(prefix)]
            if result.returncode or remaining:
                yield f"withdraw {' '.join(values)} ended with {result.returncode} and left {len(remaining)} files: {result.stderr[-300:]}"
