"""The demo from end to end, as a person runs it: run concurrently, killed half-way, run to the end, and run again."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from jobkit.errors import ExitCode, TemporaryError
from jobkit.lake import Lake

from finelt import cli, stacks
from orchestration.console import follow
from orchestration.deployments.parameters import Settings
from orchestration.local import demo, postgres, stack
from orchestration.polling import wait_until
from tests.fixtures_demo import REPOSITORY, Story, left, run, start, until_said
from tests.orchestration.daily_jobs import DAILY
from verification.sample_vendors.server import VENDORS

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.prefect_api import Api

SHOWN = {spec.name for spec in DAILY if not spec.hosts or set(spec.hosts) & set(VENDORS)}  # only vendors with sample data
DATASETS = {"ecb_fx_rates", "treasury_par_yields", "tiingo_prices", "massive_daily_prices", "sec_company_facts", "sec_filers"}
DATASETS |= {"fred_observations", "fred_series", "fred_series_releases", "fred_release_dates", "nyfed_rates", "nyfed_sofr_averages"}
DATASETS |= {"fiscaldata_debt", "fiscaldata_auctions", "sdmx_observations"}
MARTS = {
    "dim_calendar",
    "dim_issuer",
    "dim_macro_series",
    "dim_security",
    "fct_coverage_daily",
    "fct_curve_spread",
    "fct_fundamental",
    "fct_fx_rate",
    "fct_macro",
    "fct_macro_release",
    "fct_macro_revision",
    "fct_price_daily",
    "fct_public_debt",
    "fct_reference_rate",
    "fct_restatement",
    "fct_return_daily",
    "fct_sofr_average",
    "fct_treasury_auction",
    "fct_valuation_daily",
    "fct_yield",
}


def query(story: Story, sql: str) -> list[dict[str, str]]:
    command = [str(REPOSITORY / "scripts" / "sql"), "--dir", str(story.directory), sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_a_concurrent_demo_in_the_directory_exits_with_75(story: Story) -> None:
    assert story.concurrent.code == 75
    assert "another demo works in" in story.concurrent.said
    assert "--dir" in story.concurrent.said


def test_a_demo_succeeds_after_an_earlier_one_was_killed(story: Story) -> None:
    assert story.first.code == 0, story.first.said


def test_every_job_leaves_a_receipt(story: Story) -> None:
    jobs = [receipt["job"] for receipt in story.first.receipts]
    assert set(jobs) == SHOWN
    loads = [receipt for receipt in story.first.receipts if receipt["job"] == "load-warehouse"]
    assert {partition["dataset"] for receipt in loads for partition in receipt["partitions"]} == DATASETS
    assert {partition["dataset"] for receipt in story.first.receipts for partition in receipt["partitions"]} >= DATASETS
    assert all(receipt["exit_code"] == 0 for receipt in story.first.receipts)


def test_no_secret_is_in_a_receipt(story: Story) -> None:
    for receipt in story.first.receipts:
        for name in ("token", "warehouse_password"):
            assert receipt["arguments"].get(name) in (None, "***")


def test_the_table_has_every_step_and_next_commands_follow(story: Story) -> None:
    for words in ("quarantined", "unchanged", "seconds", "peak MiB", "total", "./scripts/sql", "./scripts/demo", "site/index.html"):
        assert words in story.first.said
    for receipt in story.first.receipts:
        assert receipt["job"] in story.first.said


def test_progress_is_printed_when_steps_start_and_end(story: Story) -> None:
    lines = story.first.said.splitlines()
    started = next(number for number, line in enumerate(lines) if "extract-tiingo-prices: started" in line)
    ended = next(number for number, line in enumerate(lines) if "extract-tiingo-prices: 20 partitions" in line)
    assert started < ended < next(number for number, line in enumerate(lines) if "publish-marts: started" in line)


def test_the_total_counts_each_row_once(story: Story) -> None:
    (total,) = [line for line in story.first.said.splitlines() if line.strip().startswith("total, as extracted")]
    extracted = sum(receipt["rows"] for receipt in story.first.receipts if receipt["job"].startswith("extract-"))
    assert f"{extracted:,}" in total


def test_the_row_that_breaks_its_contract_is_reported_and_can_be_looked_at(story: Story) -> None:
    """New York was closed on 2012-10-29; the sample vendor has a row of that day all the same."""
    for run_of_the_demo in (story.first, story.second):
        assert "because they break their contract: tiingo_prices ticker=IBM/year=2012 (1)" in run_of_the_demo.said
    listed = CliRunner().invoke(cli.finelt, ["quarantine", "ls", "--lake", str(story.directory / "lake")])
    assert re.search(r"tiingo_prices +ticker=IBM/year=2012 .*close <= high", listed.stdout)
    (row,) = query(story, "select row_date, reasons from fct_quarantine where dataset = 'tiingo_prices'")
    assert (row["row_date"], "close <= high" in row["reasons"]) == ("2012-10-29", True)
    (page,) = {path.read_text() for path in (story.directory / "site").glob("v/*/datasets/tiingo_prices.html")}
    assert "Rows that broke the contract" in page


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.second.code == 0, story.second.said
    assert {receipt["job"]: receipt["status"] for receipt in story.second.receipts} == dict.fromkeys(SHOWN, "unchanged")
    (load,) = [receipt for receipt in story.second.receipts if receipt["job"] == "load-warehouse"]
    assert {partition["dataset"] for partition in load["partitions"]} == DATASETS


def test_the_lake_has_the_deliveries_of_the_past_once(story: Story) -> None:
    lake = Lake(str(story.directory / "lake"))
    facts, curves = lake.history("sec_company_facts", "cik=0000320193"), lake.history("treasury_par_yields", "year=2013")
    assert [commit.known_at[:16] for commit in facts[:2]] == ["2010-01-20T23:30", "2010-02-01T23:30"]
    assert curves[0].known_at[:16] == "2013-01-14T23:30"
    assert (len(facts), len(curves)) == (3, 2)  # and those of the first complete run


def test_the_site_and_the_lake_are_where_the_readme_says(story: Story) -> None:
    assert (story.directory / "site" / "index.html").is_file()
    assert {path.name for path in (story.directory / "lake" / "raw").iterdir()} >= DATASETS


def test_apples_revenue_of_fiscal_2012_is_as_reported(story: Story) -> None:
    sql = (
        "select distinct value::bigint as value from marts.fct_fundamental where cik = 320193 and concept = '{}' "
        "and period_start = '2011-09-25' and period_end = '2012-09-29'"
    )
    assert query(story, sql.format("revenue")) == [{"value": "156508000000"}]
    assert query(story, sql.format("net_income")) == [{"value": "41733000000"}]


def test_apples_revenue_of_fiscal_2009_is_as_known_at_the_time(story: Story) -> None:
    sql = (
        "select value::bigint as value from marts.fct_fundamental where concept = 'revenue' and period_end = '2009-09-26' "
        "and period_start = '2008-09-28' and known_from <= '{}' and '{}' < known_to"
    )
    assert query(story, sql.format("2010-01-24", "2010-01-24")) == [{"value": "36537000000"}]
    assert query(story, sql.format("2010-01-26", "2010-01-26")) == [{"value": "42905000000"}]


def test_the_euro_rate_of_the_last_day_of_2012_is_the_ecbs(story: Story) -> None:
    sql = (
        "select round(rate, 4) as rate from marts.fct_fx_rate "
        "where rate_date = '2012-12-31' and base_currency = 'EUR' and quote_currency = 'USD'"
    )
    assert query(story, sql) == [{"rate": "1.3194"}]


def test_the_yield_curve_of_the_last_day_of_2012_is_the_treasurys_and_a_blank_day_has_none(story: Story) -> None:
    spread = "select round(spread_2s10s_bp)::int as bp from marts.fct_curve_spread where curve_date = '2012-12-31'"
    assert query(story, spread) == [{"bp": "153"}]
    assert query(story, "select count(*) as n from marts.fct_yield where curve_date = '2010-10-11'") == [{"n": "0"}]


def test_all_marts_have_rows(story: Story) -> None:
    counted = " union all ".join(f"select '{mart}' as mart, count(*) as n from marts.{mart}" for mart in sorted(MARTS))
    assert [row["mart"] for row in query(story, counted) if row["n"] == "0"] == []


def test_no_process_is_left_running(story: Story) -> None:
    assert story.left == []


def test_a_kept_demo_prints_where_everything_is(story: Story) -> None:
    addresses = stack.read_addresses(story.directory)
    assert all(address in story.second.said for address in addresses.values())


def finelt(words: str, directory: Path, code: int = 0) -> str:
    """Call the command in this process, and return what it printed, or its error."""
    result = CliRunner().invoke(cli.finelt, [*words.split(), "--dir", str(directory)])
    assert getattr(result.exception, "exit_code", result.exit_code) == code, result.output
    return result.stdout if code == 0 else str(result.exception)


def test_a_kept_demo_shows_its_runs_their_logs_and_what_is_loaded(story: Story) -> None:
    newest, *_ = json.loads(finelt("runs --json", story.directory))
    assert (newest["name"].split()[0], newest["state"]) == ("daily", "COMPLETED")
    steps = json.loads(finelt(f"runs {newest['run'][:13]} --json", story.directory))
    assert {step["name"].split()[0] for step in steps} == SHOWN
    table = finelt("runs", story.directory)
    assert newest["run"][:8] in table
    assert newest["name"] in table
    log = finelt("logs latest", story.directory)
    assert re.search(r"daily .*: extract-tiingo-prices: 20 partitions: 20 unchanged", log)
    loaded = {row["dataset"]: row for row in json.loads(finelt("state --json", story.directory))}
    assert set(loaded) == DATASETS
    prices = loaded["tiingo_prices"]
    assert (prices["source"], prices["last_day"], prices["partitions"]) == ("tiingo", "2013-02-28", 20)
    assert "tiingo_prices" in finelt("state", story.directory)
    assert "has ended: completed" in finelt("cancel latest", story.directory, code=2)
    assert "there is no run 'nonsense'" in finelt("logs nonsense", story.directory, code=2)


def test_a_backfill_of_a_kept_demo_starts_with_one_command(story: Story) -> None:
    """December 2012 is in the lake; of November, a vendor of prices has been asked for no day."""
    words = "run --pool process --flow backfill --plan-only --start 2012-11-29 --end 2012-12-04"
    plan = finelt(words, story.directory)
    assert "extract-massive-daily-prices: 2 of 4 partitions in 1 runs" in plan
    assert "extract-tiingo-prices: 0 of 4 partitions in 0 runs" in plan
    assert stack.read_addresses(story.directory)["site"] in plan
    assert json.loads(finelt("runs --json --limit 1", story.directory))[0]["state"] == "COMPLETED"


def test_the_site_of_a_kept_demo_is_served_with_ranges_on_loopback_only(story: Story) -> None:
    address = stack.read_addresses(story.directory)["site"]
    assert address.startswith("http://127.0.0.1:")
    with urlopen(Request(address, headers={"Range": "bytes=0-14"})) as response:  # noqa: S310
        assert (response.status, response.read()) == (206, (story.directory / "site" / "index.html").read_bytes()[:15])


def test_a_flow_of_a_kept_demo_starts_with_the_defaults_of_its_form_and_can_be_cancelled(story: Story) -> None:
    api = stacks.open_api(story.directory, None, is_compose=False)
    for flow in ("daily", "backfill"):
        deployment = api.call("GET", f"/deployments/name/{flow}/{flow}-process")
        schema = deployment["parameter_openapi_schema"]
        assert set(schema["required"]) <= set(deployment["parameters"]), flow
        assert all("description" in schema["properties"][name] for name in schema["required"])
    run_id = follow.start_flow(api, "daily", "process", {})
    wait_for_state(api, run_id, {"RUNNING"})
    assert "is being cancelled" in finelt(f"cancel {run_id}", story.directory)
    wait_for_state(api, run_id, {"CANCELLED"})


def wait_for_state(api: Api, run_id: str, states: set[str]) -> None:
    def read() -> str:
        return str(api.call("GET", f"/flow_runs/{run_id}")["state"]["type"])

    assert wait_until(lambda: read() in {*states, *follow.FINAL_STATES}, timeout_s=180, poll_every_s=0.2)
    assert read() in states


def test_a_query_does_not_stop_the_postgres_of_a_kept_demo_and_stop_ends_everything(story: Story) -> None:
    assert query(story, "select 1 as one") == [{"one": "1"}]
    assert postgres.stop_unused_server(story.directory / "postgres") is False
    assert "stopped" in finelt("stop", story.directory)
    assert left(story.directory) == []
    assert not (story.directory / "secrets").exists()
    assert "nothing runs in" in finelt("stop", story.directory)
    assert "no demo is kept in" in finelt("runs", story.directory, code=78)
    refused = CliRunner().invoke(cli.finelt, ["run", "--pool", "process", "--dir", str(story.directory)])
    assert (refused.exit_code, "no demo is kept in" in refused.output) == (78, True)
    assert json.loads(finelt("state --json", story.directory)), "the warehouse of a demo that was stopped can be asked"


def test_a_failed_step_is_reported_with_its_message_its_log_and_the_next_step(story: Story, tmp_path: Path) -> None:
    """A file has the path of a dataset's folder."""
    dataset = story.directory / "lake" / "raw" / "ecb_fx_rates"
    dataset.rename(story.directory / "away")
    dataset.write_text("not a directory")
    (tmp_path / "finelt.toml").write_text('vendors = ["ecb"]\n')
    try:
        failed = run(story.directory, folder=tmp_path)
    finally:
        dataset.unlink()
        (story.directory / "away").rename(dataset)
    assert failed.code == 78, failed.said
    assert "extract-ecb-fx-rates: failed" in failed.said
    assert f"prefect-worker.log; {ExitCode.MISCONFIGURED.next_step}" in failed.said.replace("\n", " ")
    assert left(story.directory) == []


def test_control_c_stops_everything(story: Story, tmp_path: Path) -> None:
    (tmp_path / "finelt.toml").write_text('vendors = ["treasury"]\n')
    process = start(story.directory, folder=tmp_path)
    until_said(process, "extract-treasury-yields: started")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopped; no partial result is visible, run it again to finish" in said
    assert left(story.directory) == []


def test_what_to_try_next_has_data_of_the_chosen_vendors(tmp_path: Path) -> None:
    all_vendors = demo._next_commands(tmp_path, None, Settings())
    own_vendor = demo._next_commands(tmp_path, None, Settings(vendors=["acme"]))
    assert ("fct_valuation_daily" in all_vendors, "extract-ecb-fx-rates plan" in all_vendors) == (True, True)
    assert ("--tables" in own_vendor, "extract-ecb-fx-rates" in own_vendor) == (True, False)
    assert all(f"quarantine ls --lake {tmp_path}/lake" in commands for commands in (all_vendors, own_vendor))
    kept = demo._next_commands(tmp_path, {"prefect": "p", "site": "s", "warehouse": "w"}, Settings())
    assert f"run --pool process --dir {tmp_path} --flow backfill --start" in kept


def test_a_contact_is_for_the_real_vendors(tmp_path: Path) -> None:
    refused = run(tmp_path, "--contact", "Example Ltd a@example.com")
    assert (refused.code, "add --live" in refused.said) == (2, True)


def test_live_needs_a_contact(tmp_path: Path) -> None:
    refused = run(tmp_path, "--live")
    assert refused.code == 2
    assert "--contact" in refused.said


def test_live_without_a_network_fails_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(demo.socket, "create_connection", nowhere)
    monkeypatch.setattr(demo, "getproxies", dict)
    with pytest.raises(TemporaryError, match=r"www\.ecb\.europa\.eu"):
        demo._run_in(tmp_path, "A b@example.com", demo.FlowReporter(), Settings())
    assert list(tmp_path.iterdir()) == []
