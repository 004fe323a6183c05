"""Who launched this job, and how to tell them: each launcher's own protocol, without its library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping


class Launcher(Protocol):
    """What a job asks of, and tells, whoever launched it. Telling never fails and never changes what the job does."""

    def started(self) -> bool:
        """Whether this process may do the job. False: leave quietly with exit code 0."""

    def parameters(self) -> dict[str, object]:
        """Option values given by the launcher; the command line and the environment go before them."""

    def log(self, record: logging.LogRecord) -> None:
        """Pass a log record on."""

    def progress(self, done: int, total: int, text: str) -> None:
        """Pass on how far the job is."""

    def cancelled(self) -> bool:
        """Whether the launcher wants the job stopped."""

    def finished(self, receipt: dict[str, Any], exit_code: int, sentence: str) -> None:
        """Pass on the end, with the receipt and one sentence about it."""


class Plain:
    """A shell, cron, docker run: exit code, stdout and stderr say it all."""

    def started(self) -> bool:
        """Always."""
        return True

    def parameters(self) -> dict[str, object]:
        """None: options come from the command line and the environment."""
        return {}

    def log(self, record: logging.LogRecord) -> None:
        """Nothing more: the record is on stderr."""

    def progress(self, done: int, total: int, text: str) -> None:
        """Nothing more: progress is on stderr."""

    def cancelled(self) -> bool:
        """Never: a stop comes as SIGTERM."""
        return False

    def finished(self, receipt: dict[str, Any], exit_code: int, sentence: str) -> None:
        """Nothing more: the receipt is on stdout."""


def launcher(environ: Mapping[str, str]) -> Launcher:
    """The launcher that this environment speaks of; Plain when it speaks of none."""
    if environ.get("PREFECT__FLOW_RUN_ID") and environ.get("PREFECT_API_URL"):
        from jobkit import prefect_api  # noqa: PLC0415  only a job launched by Prefect pays for it
        from jobkit.launchers import prefect  # noqa: PLC0415

        return prefect.Prefect(prefect_api.api(environ), environ["PREFECT__FLOW_RUN_ID"])
    if environ.get("DAGSTER_PIPES_CONTEXT"):
        from jobkit.launchers import dagster  # noqa: PLC0415

        return dagster.Dagster(environ)
    if environ.get("FINELT_TASK_TOKEN"):
        from jobkit.launchers import stepfunctions  # noqa: PLC0415

        return stepfunctions.StepFunctions(environ)
    return Plain()
