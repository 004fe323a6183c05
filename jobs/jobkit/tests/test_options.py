"""Options that jobs share."""

from __future__ import annotations

import logging

import click
import pytest
from jobkit import options


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, 60.0),
        (["--patience", "7"], {}, 7.0),
        ([], {"FINELT_PATIENCE": "8"}, 8.0),
        (["--retry-timeout", "9", "--patience", "7"], {"FINELT_PATIENCE": "8"}, 9.0),
        ([], {"FINELT_RETRY_TIMEOUT": "10", "FINELT_PATIENCE": "8"}, 10.0),
    ],
    ids=["default", "option", "variable", "both-options", "both-variables"],
)
def test_the_old_name_of_an_option_works_with_a_warning(
    arguments: list[str],
    environment: dict[str, str],
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("finelt"), "propagate", True)
    command = click.Command("extract", params=[options.retry_timeout()], callback=lambda retry_timeout: retry_timeout)
    assert command.main(arguments, standalone_mode=False) == expected
    is_old_used = expected in (7.0, 8.0)
    assert [record.message for record in caplog.records] == ["deprecated name; use the new one"] * is_old_used
