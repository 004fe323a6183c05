"""finelt.replay: jobs are run again on stored vendor bytes, as commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobkit.errors import BadDataError, UsageError
from jobkit.lake import CommitDraft, Lake, SourceMetadata

from finelt import replay
from jobs.catalogue import catalogue
from tests import recorded_answers, recorded_lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("dataset", "partition", "options"),
    [
        ("tiingo_prices", "ticker=AAPL/year=2012", ["--tickers", "AAPL", "--start", "2012-01-01", "--end", "2012-12-31"]),
        ("massive_daily_prices", "date=2012-12-31", ["--start", "2012-12-31", "--end", "2012-12-31"]),
        ("ecb_fx_rates_daily", "date=2012-12-31", ["--file", "daily", "--start", "2012-12-31", "--end", "2012-12-31"]),
        ("sec_company_facts", "cik=0000320193", ["--ciks", "0000320193"]),
        ("sec_filers", "file=company_tickers", []),
    ],
)
def test_a_partition_is_requested_by_options(dataset: str, partition: str, options: list[str]) -> None:
    assert replay.partition_options(dataset, partition) == options


def test_every_dataset_of_the_lake_has_a_job() -> None:
    datasets = [place.removeprefix("raw/") for spec in catalogue() for place in spec.writes if place.startswith("raw/")]
    assert {replay.find_job(dataset).name.partition("-")[0] for dataset in datasets} == {"extract"}
    with pytest.raises(UsageError):
        replay.find_job("no_such_dataset")


def test_a_commit_of_each_sample_dataset_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for answer in {answer.dataset: answer for answer in recorded_answers.of_the_sample()}.values():
        commit, _ = recorded_lake.commit(lake, answer)[-1]
        rebuilt = replay.rebuild_commit(lake, commit)
        assert rebuilt.files == {file.path: lake.read(file) for file in (commit.data, commit.quarantine) if file}, answer.dataset


def test_vendor_bytes_that_the_job_refuses_are_bad_data(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    source = lake.store_source("treasury_par_yields", b"<html>", SourceMetadata("https://vendor.example/", "text/csv", None, None))
    draft = CommitDraft(b"rows", 1, None, 0, lambda: (source,), ("Date",), "year(Date)", {"job": "t", "version": "0"})
    commit, _ = lake.commit("treasury_par_yields", "year=2013", draft)
    with pytest.raises(BadDataError):
        replay.rebuild_commit(lake, commit)
