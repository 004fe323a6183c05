"""finelt.read: the same rows from warehouse, site and lake, typed, as of a moment, and one sentence on an error."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError, TemporaryError, UsageError
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import open_store
from pandas.testing import assert_frame_equal
from publish_marts import publication

import finelt
from finelt.reader import to_pandas
from tests.warehouse import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MOMENTS = {"2010-01-20T12:00:00+00:00": 2, "2010-02-01T12:00:00+00:00": 3}


@pytest.fixture
def in_demo(demo_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below one with a finished demo, as the folder of the notebook."""
    (tmp_path / ".finelt").symlink_to(demo_directory)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    return tmp_path / ".finelt"


@pytest.fixture
def served(demo_directory: Path) -> Iterator[str]:
    """The address of the demo's site on a plain web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(demo_directory / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_warehouse_folder_and_web_server_have_the_same_rows_and_types(in_demo: Path, served: str) -> None:
    for name, key in (("fct_yield", ["curve_date", "tenor"]), ("fct_valuation_daily", ["security_id", "trade_date"])):
        from_site = finelt.read(name, in_demo / "site").sort_values(key, ignore_index=True)
        assert_frame_equal(finelt.read(name).sort_values(key, ignore_index=True), from_site)
        assert_frame_equal(finelt.read(name, served).sort_values(key, ignore_index=True), from_site)
        assert len(from_site) > 1000
        assert len(finelt.read(name, in_demo, columns=key)) == len(from_site)
    assert {str(kind) for kind in from_site.dtypes} == {"str", "datetime64[s]", "float64", "datetime64[us, UTC]"}
    exact = finelt.read("fct_yield", columns=["yield_pct"], frame="arrow").schema
    assert exact.field("yield_pct").type == DataType.decimal128(8, 4)


@pytest.mark.usefixtures("in_demo")
def test_a_warehouse_as_of_a_moment_knows_nothing_later() -> None:
    yields = finelt.read("fct_yield", as_of="2013-01-15")
    assert yields["curve_date"].max() == pd.Timestamp("2013-01-14")
    assert yields["known_at"].max() < pd.Timestamp("2013-01-15", tz="UTC")
    for as_of in (date(2013, 1, 15), datetime(2013, 1, 15, tzinfo=UTC)):
        assert len(finelt.read("fct_yield", as_of=as_of)) == len(yields)
    facts = {as_of: finelt.read("fct_fundamental", as_of=as_of) for as_of in ("2010-01-20", "2010-01-21", "2010-02-02")}
    revenue = {
        as_of: frame.loc[(frame["concept"] == "revenue") & (frame["period_end"] == "2009-09-26"), "value"].tolist()
        for as_of, frame in facts.items()
    }
    assert revenue == {"2010-01-20": [], "2010-01-21": [36537000000.0], "2010-02-02": [36537000000.0, 42905000000.0]}


def test_the_notebook_runs_on_the_demo(in_demo: Path) -> None:
    cells = json.loads((ROOT / "docs" / "reading.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    checks = "assert len(revenue) == 3, revenue\nassert len(curve) > 800, curve\nassert len(published) == len(finelt.read('fct_yield'))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{checks}"], cwd=in_demo.parent / "docs", env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_misspelt_name_is_explained_by_each_source(in_demo: Path) -> None:
    for source, close in ((None, "fct_yield"), (in_demo / "site", "fct_yield"), (in_demo / "lake", None)):
        with pytest.raises(UsageError, match=f"did you mean {close}" if close else "it has ecb_fx_rates"):
            finelt.read("fct_yeild", source)
    with pytest.raises(UsageError, match="fct_yield has no column 'yield'; did you mean yield_pct"):
        finelt.read("fct_yield", in_demo / "site", columns=["yield"])


def test_importing_finelt_imports_no_library() -> None:
    code = "import sys, finelt; print([name for name in ('pandas', 'arro3', 'psycopg', 'boto3', 'click') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# a site with two versions, and a lake with history


def publish(site: Path, version: str, previous: str | None, published_at: str, days: list[str]) -> None:
    """Publish a version of one mart."""
    store = open_store(str(site))
    columns = {
        "day": Array(days, DataType.utf8()).cast(DataType.date32()),
        "known_at": Array([f"{day}T21:00:00Z" for day in days], DataType.utf8()).cast(DataType.timestamp("us", tz="UTC")),
    }
    data = io.BytesIO()
    write_parquet(Table.from_pydict(columns), data)
    digest = hashlib.sha256(data.getvalue()).hexdigest()
    files = {"parquet": {"path": "marts/fct_x.parquet", "bytes": len(data.getvalue()), "sha256": digest}}
    catalogue = {"version": version, "previous": previous, "marts": {"fct_x": {"rows": len(days), "files": files}}}
    store.put(f"v/{version}/marts/fct_x.parquet", data.getvalue())
    store.put(f"v/{version}/catalogue.json", json.dumps(catalogue).encode())
    store.put(f"v/{version}/published.json", json.dumps({"published_at": published_at}).encode())
    store.put("latest.json", publication.serialise_pointer(publication.Pointer(version, "c", "i", published_at)))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    publish(tmp_path / "site", "one", None, "2013-01-15T08:00:00+00:00", ["2013-01-11", "2013-01-14", "2013-01-15"])
    publish(tmp_path / "site", "two", "one", "2013-02-15T08:00:00+00:00", ["2013-01-11", "2013-02-14"])
    return tmp_path / "site"


def test_a_site_of_a_newer_format_is_refused_by_name(site: Path) -> None:
    pointer = json.loads((site / "latest.json").read_text())
    (site / "latest.json").write_text(json.dumps({**pointer, "format": 3}))
    with pytest.raises(NewerFormatError, match="latest.json is of format 3, and this version reads formats up to 2; upgrade finelt"):
        finelt.read("fct_x", site)


def test_a_site_as_of_a_moment_is_its_newest_version_by_then_without_later_rows(site: Path) -> None:
    def days(as_of: str | None) -> list[str]:
        return [str(day.date()) for day in finelt.read("fct_x", site, as_of=as_of)["day"]]

    assert days(None) == ["2013-01-11", "2013-02-14"]
    assert days("2013-02-15T08:00Z") == ["2013-01-11", "2013-02-14"]
    assert days("2013-02-15T07:59Z") == ["2013-01-11", "2013-01-14", "2013-01-15"]
    assert days("2013-01-15T08:00Z") == ["2013-01-11", "2013-01-14"]
    with pytest.raises(UsageError, match="has no version of 2013-01-14T00:00Z or before, its first is of 2013-01-15T08:00Z"):
        days("2013-01-14")


def test_a_site_whose_file_was_changed_is_refused(site: Path) -> None:
    (site / "v/two/marts/fct_x.parquet").write_bytes((site / "v/one/marts/fct_x.parquet").read_bytes())
    with pytest.raises(BadDataError, match="is not the file that was published"):
        finelt.read("fct_x", site)
    (site / "v/two/marts/fct_x.parquet").unlink()
    with pytest.raises(BadDataError, match="is missing"):
        finelt.read("fct_x", site)


def draft(rows: int, **more: str) -> CommitDraft:
    columns = {"day": Array([f"2013-01-0{n}" for n in range(1, rows + 1)], DataType.utf8()).cast(DataType.date32())}
    columns |= {name: Array([value] * rows, DataType.utf8()) for name, value in more.items()}
    data = io.BytesIO()
    write_parquet(Table.from_pydict({**columns, "_row_number": Array(list(range(rows)), DataType.int32())}), data)
    return CommitDraft(data.getvalue(), rows, None, 0, lambda: (), key=("day",), leaf="year(day)", writer={"job": "t", "version": "1"})


def test_a_lake_is_read_by_commits_and_a_column_that_came_later_is_null(tmp_path: Path) -> None:
    for moment, rows in MOMENTS.items():
        Lake(str(tmp_path), datetime.fromisoformat(moment)).commit("rates", "year=2013", draft(rows, note="late" if rows == 3 else "early"))
    Lake(str(tmp_path)).commit("rates", "year=2012", draft(1, extra="new"))
    shutil.copy(next(tmp_path.glob("raw/rates/year=2013/_versions/*.parquet")), tmp_path / "raw/rates/year=2013/copy.parquet")
    now = finelt.read("rates", tmp_path)
    assert list(now.columns) == ["day", "extra", "note"]
    assert now["note"].fillna("none").tolist() == ["none", "late", "late", "late"]
    assert finelt.read("rates", tmp_path, as_of="2010-01-21")["note"].tolist() == ["early", "early"]
    with pytest.raises(UsageError, match="no commit of rates by 2010"):
        finelt.read("rates", tmp_path, as_of="2010-01-01")


def test_partitions_of_two_types_are_read_in_the_newest_one_exactly_or_not_at_all(tmp_path: Path) -> None:
    def commit(partition: str, kind: DataType, *values: str) -> None:
        rows = [{"ticker": value, "close": value} for value in values]
        samples.commit(tmp_path, rows, partition=partition, columns={"ticker": DataType.utf8(), "close": kind}, leaf="hash(ticker, 1)")

    commit("year=2013", DataType.int64(), "2", "3")
    commit("year=2012", DataType.decimal128(18, 2), "1.25")
    assert finelt.read("prices", tmp_path)["close"].tolist() == [Decimal("1.25"), Decimal("2.00"), Decimal("3.00")]
    commit("year=2014", DataType.decimal128(18, 1), "1.5")  # Arrow would round 1.25 to 1.3
    with pytest.raises(UsageError, match=r"'close' of prices changed its type, .* ask the warehouse, whose table `finelt reload prices`"):
        finelt.read("prices", tmp_path)
    commit("year=2014", DataType.date32(), "2012-01-03")
    with pytest.raises(UsageError, match="'close' of prices changed its type"):
        finelt.read("prices", tmp_path)


def test_nulls_nans_and_the_last_date_keep_their_types() -> None:
    texts = {"date32": ["9999-12-31", None], "int64": ["1", None], "bool": ["true", None], "utf8": ["a", None], "float64": ["NaN", None]}
    table = Table.from_pydict({name: Array(values, DataType.utf8()).cast(getattr(DataType, name)()) for name, values in texts.items()})
    frame = to_pandas(table)
    assert [str(kind) for kind in frame.dtypes] == ["datetime64[s]", "Int64", "boolean", "str", "float64"]
    assert frame["date32"][0].year == 9999
    assert frame.iloc[1].isna().all()
    decimals = Array(["0.1", "92233720368547758.07"], DataType.utf8()).cast(DataType.decimal128(38, 2))
    assert to_pandas(Table.from_pydict({"x": decimals}))["x"].tolist() == [0.1, 92233720368547758.07]
    empty = to_pandas(table.slice(0, 0))
    assert (len(empty), list(empty.columns)) == (0, list(texts))


def test_polars_takes_the_arrow_table(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that says what it was given stands for polars, which is no dependency."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MisconfiguredError, match="polars is not installed"):
        finelt.read("fct_x", site, frame="polars")
    fake: Any = ModuleType("polars")
    fake.DataFrame = lambda table: table.__arrow_c_stream__()
    monkeypatch.setitem(sys.modules, "polars", fake)
    assert "arrow_array_stream" in repr(finelt.read("fct_x", site, frame="polars"))


def test_a_warehouse_that_cannot_be_read_is_explained_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://reader:canary@127.0.0.1:9/finelt"
    with pytest.raises(TemporaryError, match="the warehouse 127.0.0.1:9/finelt: Postgres cannot be reached") as raised:
        finelt.read("fct_x", url)
    assert "canary" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(MisconfiguredError, match="adbc-driver-postgresql is not installed"):
        finelt.read("fct_x", url)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("fct_x; drop table x",), {}, "is not the name of a mart"),
        (("fct_x", "nothing"), {}, "there is no stack 'nothing'"),
        (("fct_x", "/nothing/here"), {}, "there is no folder /nothing/here"),
        (("fct_x",), {"frame": "excel"}, "expected one of pandas, polars, arrow"),
        (("fct_x",), {"as_of": "yesterday"}, "expected a date such as"),
        (("fct_x",), {"as_of": "9000-01-01"}, "in the future"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, MisconfiguredError), match=message) as raised:
        finelt.read(*arguments, **options)
    assert "\n" not in str(raised.value)


def test_an_empty_folder_is_neither_a_site_nor_a_lake(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="neither a published site nor a lake"):
        finelt.read("fct_x", tmp_path)
