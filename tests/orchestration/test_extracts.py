"""A person's finelt.toml and the extracts of the demo and of the stack in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jobkit.errors import ExitCode, UsageError
from jobkit.prefect_api import UnreachableError

from jobs.catalogue import catalogue
from orchestration.console.reporter import FlowReporter
from orchestration.deployments.model import DeploymentSpec
from orchestration.deployments.parameters import Settings, split_settings
from orchestration.local import demo, extracts
from orchestration.local.sample_parameters import CIKS, SAMPLE_START, TICKERS

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = ("lake", "start", "end", "tickers", "ciks", "contact", "token", "base_url", "requests_per_hour", "lookback_days", "drop")
TIINGO, SEC = "extract-tiingo-prices", "extract-sec-company-facts"


def deployment(name: str) -> DeploymentSpec:
    return DeploymentSpec(name, {"parameter_openapi_schema": {"properties": {option: {} for option in OPTIONS}}})


DEPLOYMENTS = [deployment(spec.name) for spec in catalogue()]


def sample(**document: Any) -> tuple[dict[str, dict[str, object]], list[str]]:
    settings = split_settings(document, "finelt.toml")
    return extracts.build_sample_extracts_for(settings, DEPLOYMENTS, "http://vendors", "env://T")


def test_without_a_file_the_demo_has_the_samples() -> None:
    jobs, notes = extracts.build_sample_extracts_for(Settings(), DEPLOYMENTS, "http://vendors", "env://T")
    assert (jobs[TIINGO]["tickers"], jobs[SEC]["ciks"], notes) == (TICKERS, CIKS, [])


def test_own_tickers_replace_those_of_the_samples_as_far_as_they_have_them() -> None:
    jobs, notes = sample(tickers=["IBM", "NVDA"], start="2020-01-01", lake="s3://elsewhere")
    assert jobs[TIINGO]["tickers"] == ["IBM"]
    fixed, missing = notes
    assert fixed == (
        "the sample vendors' days are fixed, so start = 2020-01-01 of finelt.toml is not used; add --live to ask the real vendors"
    )
    assert missing == (f"the sample vendors have no prices of NVDA, only {', '.join(TICKERS)}; add --live to ask the real vendors")
    assert (jobs[TIINGO]["start"], jobs[TIINGO]["base_url"]) == (SAMPLE_START, "http://vendors/api.tiingo.com")
    assert "lake" not in jobs[TIINGO]
    with pytest.raises(UsageError, match=r"^finelt.toml: the sample vendors have no prices of NVDA, only"):
        sample(tickers=["NVDA"])
    with pytest.raises(UsageError, match="no facts of the company 789019"):
        sample(ciks=["789019"])
    assert sample(ciks=[CIKS[0].zfill(10)])[1] == []


def test_a_job_that_no_flow_runs_unasked_joins_with_its_samples() -> None:
    """Without them it would call the real vendor from a demo without --live."""
    holdings = "extract-sec-13f-holdings"
    assert holdings not in sample()[0]
    jobs, _ = sample(**{holdings: {}})
    assert (jobs[holdings]["base_url"], jobs[holdings]["managers"]) == ("http://vendors/www.sec.gov", ["1619124"])


def test_only_the_chosen_vendors_are_asked() -> None:
    assert set(sample(vendors=["ecb", "tiingo"])[0]) == {"extract-ecb-fx-rates", TIINGO}
    with pytest.raises(UsageError, match=r"no job calls a vendor 'bloomberg'; the vendors are ecb, "):
        sample(vendors=["bloomberg"])


def test_an_unknown_option_or_job_is_a_usage_error() -> None:
    for wrong, meant in (("tikers", "tickers"), ("vendor", "vendors"), ("extract-tiingo-price", TIINGO)):
        with pytest.raises(UsageError, match=f"unknown option or job '{wrong}'; did you mean {meant}\\?"):
            sample(**{wrong: ["IBM"]})
    with pytest.raises(UsageError, match="unknown option or job 'xyzzy'; run `describe` of a job to see its options"):
        sample(xyzzy=1)
    with pytest.raises(UsageError, match=f"{TIINGO} has no option 'tokn'"):
        sample(**{TIINGO: {"tokn": "x"}})


def test_live_extracts_have_prices_only_with_a_token_which_is_stored_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, str] = {}

    def live(**document: Any) -> dict[str, dict[str, object]]:
        stored.clear()
        settings = split_settings(document, "finelt.toml")
        return extracts.build_live_extracts(
            settings, DEPLOYMENTS, "A b@example.com", lambda name, text: stored.update({name: text}) or name
        )

    for name in ("TIINGO_TOKEN", "MASSIVE_TOKEN", "FRED_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    keyless = {
        "extract-ecb-fx-rates",
        "extract-treasury-yields",
        "extract-nyfed-rates",
        "extract-fiscaldata-debt",
        "extract-sdmx-series",
        SEC,
        "extract-sec-filers",
    }
    assert set(live()) == keyless
    monkeypatch.setenv("MASSIVE_TOKEN", "very secret")
    assert set(live()) == {*keyless, "extract-massive-daily-prices"}
    assert stored == {"massive": "very secret"}
    monkeypatch.setenv("MY_TOKEN", "another secret")
    jobs = live(
        start="2020-01-01", ciks=["789019"], vendors=["tiingo", "sec"], **{TIINGO: {"token": "env://MY_TOKEN", "tickers": ["NVDA"]}}
    )
    assert set(jobs) == {TIINGO, SEC, "extract-sec-filers"}
    assert (jobs[TIINGO]["tickers"], jobs[TIINGO]["token"], jobs[TIINGO]["start"]) == (["NVDA"], "tiingo", "2020-01-01")
    assert (jobs[SEC]["ciks"], stored) == (["789019"], {"tiingo": "another secret"})
    assert not any("base_url" in options for options in jobs.values())


def test_settings_that_the_samples_cannot_follow_are_refused_before_a_secret_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.register, "all_deployments", lambda **_: DEPLOYMENTS)
    monkeypatch.setattr(demo, "_interrupt_on_signals", lambda: None)
    settings = split_settings({"tickers": ["NVDA"]}, "finelt.toml")
    with FlowReporter() as reporter:
        assert demo.run(tmp_path, None, reporter, settings) == ExitCode.USAGE
    assert "the sample vendors have no prices of NVDA" in "".join(capsys.readouterr())
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnreachableError("Prefect did not answer for 60 s"), ExitCode.TEMPORARY, "Prefect did not answer for 60 s"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "stopped; no partial result is visible, run it again to finish"),
    ],
)
def test_a_demo_that_can_be_tried_again_says_so_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(demo, "_run_in", fail)
    monkeypatch.setattr(demo, "_interrupt_on_signals", lambda: None)
    with FlowReporter() as reporter:
        assert demo.run(tmp_path, None, reporter, split_settings({}, "finelt.toml")) == code
    assert message in "".join(capsys.readouterr())
