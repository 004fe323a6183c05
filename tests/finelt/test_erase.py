"""An account is erased from lake, warehouse, site and drop, and nothing else changes, also next to other jobs and if it is killed."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from arro3.core import DataType
from click.testing import CliRunner
from jobkit import contracts, extraction, formats
from jobkit.contracts import Layout, arrow
from jobkit.errors import BadDataError, DamagedError, MisconfiguredError, NewerFormatError, UsageError
from jobkit.lake import CommitDraft, Lake, SourceMetadata
from jobkit.migrations import RAW
from jobkit.stores import FileStore, open_store

import finelt
from finelt import lake as lake_command
from finelt.erasure import command, drop, record, site
from finelt.erasure import lake as lakes
from finelt.erasure.command import Places, count, erase, main, parse_subject
from finelt.erasure.subject import Subject, read_table
from tests.warehouse import samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jobkit.lake import Commit

    from tests.fixtures_postgres import Warehouse

DATASET = "holdings"
JUNE, JULY = "month=2013-06", "month=2013-07"
SUBJECT = Subject(DATASET, "account", "ACC-17")
BEGIN = datetime(2013, 7, 1, 12, tzinfo=UTC)
COLUMNS = {"account": DataType.utf8(), "day": DataType.date32(), "amount": DataType.decimal128(18, 2)}
# Each version of a partition: the rows by account, those in quarantine, and the vendor's document. The second version of June only
# corrects ACC-17; the first of July has nobody else; July's second document is spelled so that only its rows say who is in it.
VERSIONS: tuple[tuple[str, dict[str, str], tuple[str, ...], bytes], ...] = (
    (
        JUNE,
        {"ACC-1": "10.00", "ACC-17": "20.00", "ACC-170": "30.00"},
        ("ACC-9", "acc-17 "),
        b"account;amount\nACC-1;10\nACC-17;20\nACC-170;30\n",
    ),
    (JUNE, {"ACC-1": "10.00", "ACC-17": "21.00", "ACC-170": "30.00"}, ("ACC-9",), b"account;amount\nACC-1;10\nACC-17;21\nACC-170;30\n"),
    (JULY, {"ACC-17": "5.00"}, (), b"account;amount\nACC-17;5\n"),
    (JULY, {"ACC-17": "6.00", "ACC-1": "11.00"}, (), b"account;amount\nACC 17;6\nACC-1;11\n"),
    (JUNE, {"ACC-1": "12.00", "ACC-170": "30.00"}, (), b"account;amount\nACC-1;12\nACC-170;30\n"),
)


def commit(url: str, moment: datetime, partition: str, rows: dict[str, str], bad: Sequence[str], document: bytes) -> Commit:
    lake = Lake(url, received_at=moment)
    values = [{"account": account, "day": f"{partition[6:]}-28", "amount": amount} for account, amount in rows.items()]
    reasons = dict.fromkeys(range(len(bad)), "amount: missing")
    quarantine = arrow.build_quarantine({"Konto": list(bad), "Betrag": [""] * len(bad)}, reasons)
    about = SourceMetadata(f"file:///drop/{DATASET}/bank-{moment:%Y-%m-%d}_v2.csv", "text/csv", None, None)
    draft = CommitDraft(
        data=samples.parquet(values, COLUMNS),
        rows=len(values),
        quarantine=contracts.to_parquet(quarantine) if quarantine else None,
        quarantined=len(bad),
        source=lambda: (lake.store_source(DATASET, document, about),),
        key=("account", "day"),
        leaf="year(day)",
        writer={"job": "test", "version": "0"},
    )
    return lake.commit(DATASET, partition, draft)[0]


def fill(url: str, *, without: str = "") -> Lake:
    """Fill a lake, or one in which an account never was."""
    for number, (partition, rows, bad, document) in enumerate(VERSIONS):
        left = {account: amount for account, amount in rows.items() if account != without}
        commit(url, BEGIN + timedelta(days=number), partition, left, [text for text in bad if text.strip().upper() != without], document)
    return Lake(url)


def places(url: str, warehouse: Warehouse | None = None, **more: Any) -> Places:
    reference = warehouse.password_reference if warehouse else ""
    return Places(
        **{"lake": Lake(url), "warehouse": warehouse and warehouse.url, "password": reference, "site": None, "drop": None, **more}
    )


def run(where: Places, subject: Subject = SUBJECT) -> tuple[dict[str, int], record.Erasure | None]:
    return erase(where, subject, "ticket 4711", count(where, subject))


def content(lake: Lake) -> dict[str, bytes]:
    """Every object but the log and the records, whose ids are random."""
    return {key: lake.store.get(key) for key in lake.store.list_keys("") if "/_log/" not in key and "/_erasures/" not in key}


def answers(url: str) -> list[list[tuple[Any, ...]]]:
    """What everybody else's rows are as of each moment."""
    frames = [finelt.read(DATASET, url, as_of=(BEGIN + timedelta(days=day, hours=1)).isoformat()) for day in range(len(VERSIONS))]
    rows = [frame[frame["account"] != SUBJECT.value][["account", "day", "amount"]].itertuples(index=False) for frame in frames]
    return [sorted(map(tuple, part)) for part in rows]


def test_every_version_of_the_lake_is_erased_and_the_rest_answers_as_before(url: str) -> None:
    """Also files that no commit names, and versions that a bucket keeps of deleted objects."""
    lake = fill(url)
    orphan = lake.store_source(DATASET, b"a refused file: ACC-17", SourceMetadata("file:///x", "text/csv", None, None))
    if url.startswith("s3"):
        key = f"x/raw/{DATASET}/{JUNE}/old.csv"
        boto3.client("s3").put_object(Bucket="a-lake", Key=key, Body=b"ACC-17")
        boto3.client("s3").delete_object(Bucket="a-lake", Key=key)
    before, expected = content(lake), answers(url)
    counts = count(places(url), SUBJECT)
    assert content(lake) == before
    assert (counts["rows in the lake's files"], counts["quarantined rows in the lake's files"]) == (4, 1)
    assert (counts["commits that name such files"], counts["documents of the vendor"]) == (4, 5)
    left, erasure = run(places(url))
    assert not any(left.values())
    assert erasure
    assert (erasure.asked_by, erasure.erased["rows in the lake's files"], erasure.pending) == ("ticket 4711", 4, ())
    assert SUBJECT.value.encode() not in lake.store.get(erasure.key)
    assert not lake.store.exists(orphan.path)
    assert answers(url) == expected
    verification = lake_command.verify(Lake(url))
    assert (verification.findings, verification.commits) == ([], 5)
    assert [(made.rows_read, made.data.rows, len(made.source)) for made in lake.history(DATASET, JUNE)] == [(3, 2, 0), (3, 2, 0), (2, 2, 1)]
    assert run(places(url)) == (left, None)
    if url.startswith("s3"):
        versions = boto3.client("s3").list_object_versions(Bucket="a-lake")
        bodies = [
            boto3.client("s3").get_object(Bucket="a-lake", Key=item["Key"], VersionId=item["VersionId"]) for item in versions["Versions"]
        ]
        assert not [body for body in bodies if SUBJECT.is_in_document(body["Body"].read())]
        assert all(item["IsLatest"] for item in versions["Versions"])


def test_the_warehouse_is_erased_and_equals_a_rebuild_and_one_in_which_the_account_never_was(tmp_path: Path, warehouse: Warehouse) -> None:
    query = "select account, day, amount, _row_number, known_from, known_to::text from raw.holdings order by 1, 2, 5"
    ledger = 'select dataset, partition, commit, sha256, "rows", known_at, leaf from raw._ledger order by 1, 2, 3'
    quarantine = "select partition, commit, row_number, raw_row::text, known_from, known_to::text from raw._quarantine order by 1, 2, 3"

    def state() -> list[Any]:
        return [warehouse.rows(text) for text in (query, ledger, quarantine)]

    lake = str(tmp_path / "lake")
    fill(lake)
    samples.load(lake, warehouse)
    others = [row for row in warehouse.rows(query) if row[0] != SUBJECT.value]
    left_by_reloads = {'"holdings~old~1"': "holdings", "holdings": "holdings", "_quarantine": "_quarantine"}
    warehouse.run("; ".join(f"create table stage.{name} as select * from raw.{table}" for name, table in left_by_reloads.items()))
    lakes.erase(Lake(lake), SUBJECT, lambda documents: documents)
    by_name = samples.load(lake, warehouse, partitions=[JUNE, JULY])  # looks at every partition; only the lake was erased until now
    assert {outcome for _, _, outcome in by_name.outcomes} == {"unchanged"}
    left, _ = run(places(lake, warehouse))
    assert not any(left.values())
    assert warehouse.rows(query) == others
    assert warehouse.rows("select relname from pg_class where relnamespace = 'stage'::regnamespace and relkind = 'r'") == [
        ("holdings~old~1",)
    ]
    assert len(warehouse.rows('select from stage."holdings~old~1"')) == len(others)
    assert {outcome for _, _, outcome in samples.load(lake, warehouse, partitions=[JUNE, JULY]).outcomes} == {"unchanged"}
    erased = state()
    warehouse.run("drop schema raw cascade; drop schema stage cascade")
    samples.load(lake, warehouse)
    assert state() == erased
    warehouse.run("drop schema raw cascade; drop schema stage cascade")
    fill(str(tmp_path / "never"), without=SUBJECT.value)
    samples.load(tmp_path / "never", warehouse)
    assert [[row[:3] + row[4:] for row in warehouse.rows(query)], [row[:1] + row[3:] for row in warehouse.rows(quarantine)]] == [
        [row[:3] + row[4:] for row in erased[0]],
        [row[:1] + row[3:] for row in erased[2]],
    ]


def test_tables_that_may_be_made_of_the_dataset_are_searched(tmp_path: Path, warehouse: Warehouse) -> None:
    """A table that nobody can clean makes it fail with its name; tables of other datasets do not count."""
    fill(str(tmp_path))
    samples.load(tmp_path, warehouse)
    lineage = {"parents": {"fct_known": ["other"]}, "datasets": {"other": {"kind": "dataset"}, "a_seed": {"kind": "seed"}}}
    warehouse.run(
        "create schema mine; create table mine.copy as select 'x/ACC-17' as key union all select 'ACC-170'; create schema ops;"
        "create table mine.fct_known as select 'ACC-17' as x; create table mine.a_seed as select 'ACC-17' as x;"
        "create table ops.transforms (transform_id int, lineage jsonb, ended_at timestamptz, shape text);"
        f"insert into ops.transforms values (1, '{json.dumps(lineage)}', now(), 'x')"
    )
    left, erasure = run(places(str(tmp_path), warehouse))
    assert {name: number for name, number in left.items() if number} == {"rows in the warehouse's mine.copy": 1}
    assert erasure
    assert erasure.ended_at == ""
    assert warehouse.rows("select shape from ops.transforms") == [(None,)]  # the next build makes all marts again
    warehouse.run("drop table mine.copy")
    left, again = run(places(str(tmp_path), warehouse))
    assert again
    assert (again.id, again.ended_at != "", any(left.values())) == (erasure.id, True, False)


def test_marts_with_the_value_are_built_again(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(str(tmp_path))
    samples.load(tmp_path, warehouse)
    warehouse.run("create schema marts; create table marts.fct_holding as select distinct account from raw.holdings")
    built: list[str] = []

    def build(job: str, options: Sequence[str]) -> None:
        built.extend([job, *options])
        warehouse.run("drop table marts.fct_holding; create table marts.fct_holding as select distinct account from raw.holdings")

    monkeypatch.setattr(command, "run_job", build)
    left, _ = run(places(str(tmp_path), warehouse))
    assert not any(left.values())
    assert built == ["transform-warehouse", "--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference]
    assert warehouse.rows("select account from marts.fct_holding order by 1") == [("ACC-1",), ("ACC-170",)]


class KilledError(BaseException):
    """Stands for SIGKILL."""


def kill_after(monkeypatch: pytest.MonkeyPatch, operations: int) -> None:
    """Let that many changes of the store pass; the next one does not happen, and nothing after it."""
    left = [operations]

    def watch(name: str) -> None:
        method = getattr(FileStore, name)

        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return method(*arguments)

        monkeypatch.setattr(FileStore, name, call)

    for name in ("put", "put_if_match", "erase"):
        watch(name)


def test_a_record_or_a_warehouse_of_a_newer_format_is_refused_before_anything_is_erased(tmp_path: Path, warehouse: Warehouse) -> None:
    lake = fill(str(tmp_path))
    samples.load(tmp_path, warehouse)
    before = content(lake)
    warehouse.run(f"insert into raw._migrations (number, title) values ({RAW.format + 1}, 'of tomorrow')")
    with pytest.raises(NewerFormatError, match=rf"the schema raw .* is of format {RAW.format + 1}, and .* upgrade finelt"):
        run(places(str(tmp_path), warehouse))
    newer = record.begin(lake.store, SUBJECT, "ticket 1", "2026-01-01T00:00:00+00:00")
    document = json.loads(lake.store.get(newer.key))
    lake.store.put(newer.key, json.dumps({**document, "format": formats.ERASURE + 1}).encode())
    with pytest.raises(NewerFormatError, match=f"{newer.id}.json is of format {formats.ERASURE + 1}, and .* upgrade finelt"):
        run(places(str(tmp_path)))
    lake.store.erase(newer.key, lambda _: True)
    assert content(lake) == before


def test_killed_at_any_step_it_completes_when_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fill(str(tmp_path / "undisturbed"))
    run(places(str(tmp_path / "undisturbed")))
    for kills in range(200):
        where = places(str(tmp_path / f"killed-{kills}"))
        lake = fill(where.lake.store.url)
        with monkeypatch.context() as patched:
            kill_after(patched, kills)
            try:
                run(where)
            except KilledError:
                assert lake_command.verify(lake).wrong == []
            else:
                break
        run(where)
        assert content(lake) == content(expected), kills
        assert [bool(erasure.ended_at) for erasure in record.list_erasures(lake.store, DATASET)] == [True]
    assert kills > 15


def test_what_is_delivered_meanwhile_is_erased_and_what_is_delivered_later_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that is made just before a file is deleted names the file that is deleted; one made later is a new delivery."""
    lake, get_erase = fill(str(tmp_path)), FileStore.erase
    rows, document = {"ACC-1": "10.00", "ACC-17": "21.00", "ACC-170": "30.00"}, VERSIONS[1][3]

    def deliver(moment: datetime) -> Commit:
        return commit(str(tmp_path), moment, JUNE, rows, ("ACC-9",), document)

    def erase_late(self: FileStore, prefix: str, matches: Any) -> Any:
        monkeypatch.setattr(FileStore, "erase", get_erase)
        deliver(BEGIN + timedelta(days=30))
        return get_erase(self, prefix, matches)

    monkeypatch.setattr(FileStore, "erase", erase_late)
    left, _ = run(places(str(tmp_path)))
    assert not any(left.values())
    assert lake_command.verify(lake).findings == []
    assert len(lake.history(DATASET, JUNE)) == 4
    deliver(BEGIN + timedelta(days=60))
    [finding] = lake_command.verify(lake).wrong
    assert "has 1 rows of the account that was erased on 20" in finding.text
    assert "ACC-17" not in finding.text
    assert not any(run(places(str(tmp_path)))[0].values())
    assert lake_command.verify(lake).findings == []


def test_a_later_run_of_an_extractor_knows_what_was_erased(tmp_path: Path) -> None:
    """A correction with a lower number is still refused, and nothing is made of vendor bytes that are gone."""
    from extract_dropped_files import runner

    lake = fill(str(tmp_path))
    run(places(str(tmp_path)))
    head = lake.head(DATASET, JULY)
    assert head
    rules = SimpleNamespace(partition=(), layout=Layout())
    assert (head.source, runner._current_name(rules, head)) == ((), "bank-2013-07-04_v2.csv")  # type: ignore[arg-type]
    state, request = lake.read_state(DATASET, JULY), SimpleNamespace(dataset=DATASET)
    with pytest.raises(BadDataError, match="its vendor bytes were erased with a person; run without --replay"):
        extraction._replay_partition(SimpleNamespace(lake=lake), request, JULY, state)  # type: ignore[arg-type]


def test_another_lake_is_still_refused(tmp_path: Path, warehouse: Warehouse) -> None:
    fill(str(tmp_path / "lake"))
    samples.load(tmp_path / "lake", warehouse)
    commit(str(tmp_path / "other"), BEGIN, JUNE, {"ACC-2": "1.00", "ACC-17": "2.00"}, (), b"x")
    run(places(str(tmp_path / "other")))
    with pytest.raises(MisconfiguredError, match="pass the --lake that this warehouse was loaded from"):
        samples.load(tmp_path / "other", warehouse)


def test_a_movement_is_erased_from_the_bank_statements_in_the_drop(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "drop"))
    store.put("accepted/bank_statement/a.sta", b":20:X\n:25:ACC-17\n")
    assert drop.erase(store, Subject("bank_movement", "account", "ACC-17")).files == []
    assert not list(store.list_keys(""))


def test_files_of_the_drop_are_erased_and_one_that_waits_is_reported(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "drop"))
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", "<si><t>ACC-17</t></si>")
    for key in ("accepted/holdings/a.csv", "rejected/holdings/b.csv", "rejected/holdings/b.csv.reasons.json", "holdings/waits.csv"):
        store.put(key, b"x;ACC-17;y")
    store.put("accepted/holdings/c.xlsx", workbook.getvalue())
    store.put("accepted/holdings/d.csv", b"x;ACC-170;y")
    store.put("accepted/of_another_dataset/e.csv", b"ACC-17")
    left = drop.erase(store, SUBJECT)
    assert (left.files, left.waiting) == ([], ["holdings/waits.csv"])
    assert list(store.list_keys("")) == ["accepted/holdings/d.csv", "accepted/of_another_dataset/e.csv", "holdings/waits.csv"]


def test_marts_with_the_value_are_withdrawn_from_published_versions(tmp_path: Path) -> None:
    from publish_marts import publication

    store = open_store(str(tmp_path / "site"))
    for version, account in (("a" * 16, "ACC-17"), ("b" * 16, "ACC-1")):
        publication.begin_version(store, version, "internal", f"2013-07-0{'ab'.index(version[0]) + 1}T00:00:00+00:00")
        marts = {}
        for mart in ("fct_holding", "fct_other"):
            files = {}
            bodies = {"csv": f"account\n{account}\n".encode(), "json": json.dumps({"account": account}).encode()}
            bodies["parquet"] = samples.parquet([{"account": account}], {"account": DataType.utf8()})
            for name, body in bodies.items():
                store.put(f"v/{version}/marts/{mart}.{name}", body)
                files[name] = {"path": f"marts/{mart}.{name}", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            marts[mart] = {"description": "", "key": [], "columns": [], "rows": 1, "state": None, "files": files}
        made_of = {"fct_holding": [DATASET], "fct_other": ["other"]}
        terms = {"audience": "internal", "left_out": {}, "sources": [], "made_of": made_of}
        publication.write_catalogue(store, version, {"version": version, "previous": None, "renderer": "", **terms, "marts": marts})
    assert site.scan(store, SUBJECT).marts == {"a" * 16: {"fct_holding"}}
    left = site.erase(store, SUBJECT)
    assert not any(left.counts.values())
    assert not store.exists(f"v/{'a' * 16}/marts/fct_holding.csv")
    assert store.exists(f"v/{'a' * 16}/marts/fct_other.csv")
    assert store.exists(f"v/{'b' * 16}/marts/fct_holding.csv")
    store.put("latest.json", json.dumps({"version": "b" * 16, "format": formats.SITE + 1}).encode())
    with pytest.raises(NewerFormatError, match="upgrade finelt"):
        site.scan(store, SUBJECT)


@pytest.mark.parametrize(
    ("document", "is_in"),
    [
        ("é-17;x".encode("cp1252"), True),
        ("x\té-17".encode("utf-16"), True),
        (b'{"account": "\\u00e9-17"}', True),
        ("a;é-171".encode(), False),
        ("a;xé-17".encode("utf-16-le"), False),
        (samples.parquet([{"account": "é-17"}], {"account": DataType.utf8()}), True),
        (samples.parquet([{"account": "é-1"}], {"account": DataType.utf8()}), False),
        (b"\x1f\x8bnot gzip", True),
        (b"PAR1 cut short", True),
    ],
)
def test_a_document_is_searched_whatever_it_is(document: bytes, is_in: bool) -> None:  # noqa: FBT001
    assert Subject(DATASET, "account", "é-17").is_in_document(document) is is_in


def test_the_command_shows_first_and_never_prints_the_value(tmp_path: Path) -> None:
    lake = fill(str(tmp_path))
    before = content(lake)

    def invoke(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, [*words, "--lake", str(tmp_path)])
        assert "ACC-17" not in done.output
        return done.exit_code, done.output

    code, output = invoke("account=ACC-17", "--dataset", DATASET)
    assert (code, content(lake)) == (0, before)
    assert "rows in the lake's files" in output
    assert "nothing was changed; --apply erases it" in output
    assert invoke("account=ACC-17", "--dataset", DATASET, "--apply")[0] == 2  # who asked for it?
    code, output = invoke("account=ACC-17", "--dataset", DATASET, "--apply", "--asked-by", "ticket 4711")
    assert code == 0, output
    assert "4 -> 0" in output
    assert "nothing is left" in output
    assert invoke("account=ACC-17", "--dataset", DATASET, "--apply", "--asked-by", "ticket 4711")[1].endswith("nothing had this value\n")
    assert invoke("konto=ACC-17", "--dataset", DATASET) == (
        2,
        f"erase: no file of holdings in {lake.store.url} has a column konto; check COLUMN and --dataset\n",
    )
    assert invoke("account=ACC-17", "--dataset", "holding")[0] == 2
    with pytest.raises(UsageError, match="expected COLUMN=VALUE"):
        parse_subject(DATASET, "account=")
    with pytest.raises(UsageError, match="partitions of holdings are named by this value"):
        lakes.scan(lake, Subject(DATASET, "account", "2013-06"))


def test_what_is_left_is_named_with_what_to_do(tmp_path: Path) -> None:
    fill(str(tmp_path / "lake"))
    open_store(str(tmp_path / "drop")).put("holdings/waits.csv", b"ACC-17")
    words = ["account=ACC-17", "--dataset", DATASET, "--lake", str(tmp_path / "lake"), "--drop", str(tmp_path / "drop")]
    done = CliRunner().invoke(main, [*words, "--apply", "--asked-by", "ticket 4711"])
    assert done.exit_code == BadDataError.exit_code
    assert "1 files of the drop that wait are left; take the waiting files out of the drop" in done.output


def test_a_damaged_file_is_never_taken_for_clean(tmp_path: Path) -> None:
    lake = fill(str(tmp_path))
    head = lake.head(DATASET, JUNE)
    assert head
    assert read_table(lake.read(head.data)).num_rows == 2
    lake.store.put(head.data.path, b"PAR1")
    with pytest.raises(DamagedError, match="is damaged, so its content is unknown"):
        run(places(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"no Parquet", b"PAR1 damaged PAR1"])
def test_a_file_that_cannot_be_searched_is_reported_and_the_others_are_searched(tmp_path: Path, content: bytes) -> None:
    lake = fill(str(tmp_path))
    run(places(str(tmp_path)))
    head = lake.head(DATASET, JUNE)
    assert head
    commit(str(tmp_path), BEGIN + timedelta(days=60), JULY, {"ACC-17": "21.00"}, (), b"{}")
    lake.store.put(head.data.path, content)
    found = [finding.text for finding in lake_command.verify(lake).wrong if finding.where.endswith(".parquet")]
    assert sorted(text.split(";")[0][:40] for text in found) == [
        "has 1 rows of the account that was erase",
        "is damaged or no Parquet, so it was not ",
    ]
