"""A tap's records are loaded exactly once, whatever the tap repeats and wherever a run ends."""

from __future__ import annotations

import json
import logging

import pytest
from extract_singer_streams import runner, tap
from jobkit import failpoints, partition_writer
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError

from .connections import Place, activate, delete, record, schema, state

TWO = ("orders=acme_orders", "refunds=acme_refunds")


def test_records_are_merged_by_key_over_runs(place: Place) -> None:
    assert place.run(schema(), record(1), record(2), state({"n": 2})) == [("acme_orders", "committed")]
    assert place.run(schema(), record(2, "2.10"), record(2, "2.20"), record(3), state({"n": 3})) == [("acme_orders", "committed")]
    assert (place.rows(), place.state()) == ({1: "1.500000", 2: "2.200000", 3: "1.500000"}, {"n": 3})


def test_the_tap_goes_on_from_the_state_of_the_commit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.run(schema(), record(1), state({"bookmarks": {"orders": 1.50}}))
    with caplog.at_level(logging.INFO, logger="finelt"):
        assert place.run(schema()) == [("acme_orders", "unchanged")]
    assert 'resumed from {"bookmarks": {"orders": 1.5}}' in [getattr(one, "line", "") for one in caplog.records]


def test_a_repeat_changes_nothing_and_a_new_state_is_kept_without_new_records(place: Place) -> None:
    messages = (schema(), record(1), record(2), state({"n": 2}))
    place.run(*messages)
    assert place.run(*messages) == [("acme_orders", "unchanged")]
    place.run(schema(), state({"n": 9}))
    assert (place.state(), place.head().number, place.rows()) == ({"n": 9}, 2, {1: "1.500000", 2: "1.500000"})


def test_a_delete_without_the_other_columns_is_no_broken_row(place: Place) -> None:
    place.run(schema(), record(1), record(2), state(1))
    place.run(schema(), delete(2), state(2))
    head = place.head()
    assert (place.rows(), head.quarantine, head.number) == ({1: "1.500000"}, None, 2)


def test_a_time_without_a_zone_is_no_moment_and_waits_in_quarantine(place: Place) -> None:
    """Taps write times of databases without one, after they moved them to UTC or not: nobody can tell. As text they are kept."""
    moment = "{name: paid_at, logicalType: timestamp, physicalType: timestamp}"
    for column, expected in ((moment, {1}), (moment.replace("timestamp", "string"), {1, 2})):
        place.columns = f"      - {column}\n"
        sent = (record(1, paid_at="2020-04-20T12:00:15+02:00"), record(2, paid_at="2020-04-20T09:00:15"))
        place.run(schema("paid_at"), *sent, full_refresh=True)
        assert set(place.rows()) == expected
        place.folder /= "text"
        place.folder.mkdir()


def test_digits_are_kept_and_a_bad_record_waits_in_quarantine_until_it_is_corrected(place: Place) -> None:
    place.run(schema(), record(1, "0.1234567"), record(2, "12345678901.123456"), record(3), state(1))
    assert (place.rows(), place.head().quarantine.rows) == ({2: "12345678901.123456", 3: "1.500000"}, 1)
    place.run(schema(), record(3, "3"), state(2))
    assert place.head().quarantine.rows == 1
    place.run(schema(), record(1, "0.123456"), state(3))
    assert (place.rows()[1], place.head().quarantine) == ("0.123456", None)


def test_bad_records_are_not_hidden_by_many_good_ones_of_earlier_runs(place: Place) -> None:
    place.run(schema(), *(record(number) for number in range(20)), state(1))
    with pytest.raises(BadDataError, match="1 of 1 rows break the contract"):
        place.run(schema(), record(30, "-1"), state(2))
    assert place.state() == 1


def test_old_rows_stay_until_the_new_version_is_active(place: Place) -> None:
    place.run(schema(), activate(1), record(1, version=1), record(2, version=1), state("v1"))
    place.config = {"exit_code": 1}
    with pytest.raises(tap.TapError, match=r"ended with 1: the end"):
        place.run(schema(), record(2, "9", version=2), state("half"))
    assert (place.rows(), place.state()) == ({1: "1.500000", 2: "1.500000"}, "v1")
    place.config = {}
    table = (schema(), record(2, "9", version=2), record(3, version=2), activate(2), state("v2"))
    with pytest.raises(runner.ShrunkenStreamError, match="lacks 1 of 2 records that it had"):
        place.run(*table)
    place.run(*table, allow_shrinking=True)
    assert (place.rows(), place.state()) == ({2: "9.000000", 3: "1.500000"}, "v2")


def test_a_record_that_the_tap_deletes_in_a_new_version_is_not_missing_from_it(place: Place) -> None:
    place.run(schema(), activate(1), record(1, version=1), record(2, version=1), state("v1"))
    place.run(schema(), record(1, version=2), record(2, version=2), delete(2, version=2), activate(2), state("v2"))
    assert (place.rows(), place.state()) == ({1: "1.500000"}, "v2")


def test_an_incremental_run_within_a_version_keeps_the_other_rows(place: Place) -> None:
    place.run(schema(), activate(1), record(1, version=1), record(2, version=1), state("v1"))
    place.run(schema(), activate(1), record(3, version=1), state("more"))
    assert sorted(place.rows()) == [1, 2, 3]


def test_the_same_table_under_a_new_version_is_unchanged(place: Place) -> None:
    for version in (1, 2, 3):
        outcomes = place.run(schema(), record(1, version=version), record(2, version=version), activate(version), state({}))
    assert (outcomes, place.head().number, place.rows()) == ([("acme_orders", "unchanged")], 1, {1: "1.500000", 2: "1.500000"})


def test_a_version_that_is_never_activated_replaces_nothing(place: Place) -> None:
    place.run(schema(), activate(1), record(1, version=1), state(1))
    place.run(schema(), record(2, version=2), state(2))
    assert (sorted(place.rows()), place.state()) == ([1, 2], 1)


def test_a_tap_that_fails_keeps_what_its_last_state_covers(place: Place) -> None:
    place.config = {"exit_code": 3}
    with pytest.raises(tap.TapError):
        place.run(schema(), record(1), state({"n": 1}), record(2))
    assert (sorted(place.rows()), place.state()) == ([1, 2], {"n": 1})  # the second comes again, under its key
    with pytest.raises(tap.TapError):
        place.run("")
    assert place.head().number == 1


@pytest.mark.parametrize("stage", ["before stream#2", "after stream#2", "before stream#1", "after stream#1"])
def test_a_run_that_dies_between_two_commits_is_made_good(place: Place, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place.streams = TWO
    place.run(schema(), schema(stream="refunds"), record(1), record(1, stream="refunds"), state(1))
    messages = (schema(), schema(stream="refunds"), record(2), record(2, stream="refunds"), delete(1), state(2))

    class KilledError(BaseException):
        pass

    def die(name: str) -> None:
        counts[name] = counts.get(name, 0) + 1
        if f"{name}#{counts[name]}" == stage:
            raise KilledError

    counts: dict[str, int] = {}
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "hit", die)
        with pytest.raises(KilledError):
            place.run(*messages)
    assert place.state("acme_refunds") == (2 if stage == "after stream#2" else 1)
    place.run(*messages)
    assert (sorted(place.rows()), sorted(place.rows("acme_refunds")), place.state("acme_refunds")) == ([2], [1, 2], 2)
    assert (place.head().number, place.head("acme_refunds").number) == (2, 2)


def test_a_commit_of_another_run_is_never_overwritten(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(schema(), record(1), state(1))
    commit = partition_writer.commit

    def overtaken(*given: object, **more: object) -> object:
        monkeypatch.setattr(partition_writer, "commit", commit)
        place.run(schema(), record(2), state(2))
        return commit(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_writer, "commit", overtaken)
    with pytest.raises(TemporaryError, match="committed by another run meanwhile"):
        place.run(schema(), record(3), state(3))
    assert (sorted(place.rows()), place.state()) == ([1, 2], 2)


def test_a_full_refresh_replaces_all_and_a_shorter_table_needs_permission(place: Place) -> None:
    place.run(schema(), record(1), record(2), state(1))
    with pytest.raises(runner.ShrunkenStreamError, match="lacks 1 of 2 records"):
        place.run(schema(), record(1), state(5), full_refresh=True)
    place.run(schema(), record(1), state(5), full_refresh=True, allow_shrinking=True)
    assert (place.rows(), place.state()) == ({1: "1.500000"}, 5)
    place.config = {"exit_code": 1}
    with pytest.raises(tap.TapError):
        place.run(schema(), state(6), full_refresh=True, allow_shrinking=True)
    assert place.state() == 5


def test_a_stream_that_joins_later_needs_its_first_records(place: Place) -> None:
    place.run(schema(), schema(stream="refunds"), record(1), record(1, stream="refunds"), state(1))
    place.streams = TWO
    with pytest.raises(MisconfiguredError, match="'refunds' was not part of the run.*--full-refresh"):
        place.run(schema(), state(2))


def test_a_state_that_is_past_records_of_a_stream_is_not_used_for_it(place: Place) -> None:
    both = (schema(), schema(stream="refunds"))
    place.streams = TWO
    place.run(*both, record(1), record(1, stream="refunds"), state(1))
    place.streams = TWO[:1]
    place.run(*both, record(2), record(2, stream="refunds"), state(2))
    place.streams = TWO
    with pytest.raises(MisconfiguredError, match="'refunds' was not part of the run.*--full-refresh"):
        place.run(*both, state(3))
    place.run(*both, record(1), record(2), record(1, stream="refunds"), record(2, stream="refunds"), state(3), full_refresh=True)
    assert (sorted(place.rows("acme_refunds")), place.state("acme_refunds")) == ([1, 2], 3)
    place.run(*both, record(3, stream="refunds"), state(4))
    assert sorted(place.rows("acme_refunds")) == [1, 2, 3]


def test_a_run_that_gets_no_new_state_covers_the_streams_of_the_old_one(place: Place) -> None:
    both = (schema(), schema(stream="refunds"))
    place.streams = TWO
    place.run(*both, record(1), record(1, stream="refunds"), state(1))
    place.streams = TWO[:1]
    place.run(*both, record(2))
    place.streams = TWO
    place.run(*both, record(2, stream="refunds"), state(2))
    assert (sorted(place.rows()), sorted(place.rows("acme_refunds"))) == ([1, 2], [1, 2])


def test_another_message_than_singers_ends_the_run_and_nothing_is_committed(place: Place) -> None:
    with pytest.raises(BadDataError, match=r"line 3 of the tap's output is not a JSON object.*'THIS IS.*logs to stderr"):
        place.run(schema(), record(1), "THIS IS A LOG", state(1))
    assert not list((place.folder / "lake").rglob("*.json"))


def test_a_missing_tap_stream_or_contract_is_named(place: Place) -> None:
    with pytest.raises(MisconfiguredError, match="the tap /tap/bin/none cannot be started: No such file"):
        place.run(tap="/tap/bin/none")
    with pytest.raises(MisconfiguredError, match="sent no stream 'orders'"):
        place.run(schema(stream="other"))
    place.streams = ("orders",)
    with pytest.raises(UsageError, match="'orders' is not STREAM=DATASET"):
        place.run()


def test_secrets_of_the_tap_are_masked_and_never_stored(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = "tap-token-8f2c41d7"
    monkeypatch.setenv("TAP_SECRETS", json.dumps({"token": token}))
    place.secrets = "env://TAP_SECRETS"
    with caplog.at_level(logging.INFO, logger="finelt"):
        place.run(schema(), record(1), state(1))
    assert "logged in with ***" in [getattr(one, "line", "") for one in caplog.records]
    with pytest.raises(BadDataError, match="holds the secret"):
        place.run(schema(), record(2, note=f"Bearer {token}"), state(2))
    assert place.state() == 1


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\\n"])
def test_each_line_of_a_private_key_is_masked(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, line_break: str
) -> None:
    lines = [f"MIIEvQIBADAN{number}BgkqhkiG9w0BAQEFAASC" for number in range(4)]
    monkeypatch.setenv("TAP_SECRETS", json.dumps({"token": line_break.join(["-----BEGIN KEY-----", *lines, "-----END KEY-----"])}))
    place.secrets = "env://TAP_SECRETS"
    with caplog.at_level(logging.INFO, logger="finelt"):
        place.run(schema(), record(1, note="-----BEGIN KEY-----"), state(1))
    logged = "".join(getattr(one, "line", "") for one in caplog.records)
    assert "logged in with" in logged
    assert not [line for line in lines if line in logged]


def test_a_secret_in_a_long_line_of_the_log_is_masked_before_the_line_is_cut(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tap, "MAX_LOG_CHARS", 25)
    monkeypatch.setenv("TAP_SECRETS", json.dumps({"token": "x7Gq2Zp9" * 8}))
    place.secrets = "env://TAP_SECRETS"
    with caplog.at_level(logging.INFO, logger="finelt"):
        place.run(schema(), record(1), state(1))
    assert "logged in with ***" in [getattr(one, "line", "") for one in caplog.records]


def test_a_config_of_another_encoding_is_named(place: Place) -> None:
    connection = place.connection(schema())
    path = place.folder / "config.json"
    path.write_bytes('{"name": "Müller"}'.encode("latin-1"))
    with pytest.raises(MisconfiguredError, match="the tap's config .*config.json is not a JSON object"):
        tap.read_config(connection.tap_config, None)


def test_a_stream_without_records_in_the_first_run_is_empty_and_named(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.streams = TWO
    with caplog.at_level(logging.WARNING, logger="finelt"):
        place.run(schema(), record(1), state(1))
    assert "'refunds'" in [getattr(one, "streams", "") for one in caplog.records]
    place.run(schema(stream="refunds"), record(2, stream="refunds"), state(2))
    assert (sorted(place.rows()), sorted(place.rows("acme_refunds")), place.state("acme_refunds")) == ([1], [2], 2)


def test_the_check_lets_the_tap_list_its_streams(place: Place) -> None:
    from .connections import Job

    runner.check(Job(), place.connection())  # type: ignore[arg-type]
    place.config = {"exit_code": 1}
    with pytest.raises(tap.TapError):
        runner.check(Job(), place.connection())  # type: ignore[arg-type]
