"""Which launcher started this process, and how to report to it in its own protocol, without its library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from jobkit.receipt import Receipt


class Launcher(Protocol):
    """What a job needs from its launcher. Reporting never fails and never changes what the job does."""

    def claim(self) -> bool:
        """Claim the run; return whether this process may do it. If not, the process exits with 0 and does nothing."""

    def options(self) -> dict[str, object]:
        """Return option values that the launcher gives; the command line and the environment take precedence."""

    def log(self, record: logging.LogRecord) -> None:
        """Forward a log record."""

    def report_progress(self, done: int, total: int, text: str) -> None:
        """Report that `done` of `total` steps are done."""

    def report_end(self, receipt: Receipt, exit_code: int, summary: str) -> None:
        """Report the end: the receipt, and its summary of one line."""


class ShellLauncher:
    """A shell, cron or docker run: exit code, stdout and stderr report everything."""

    def claim(self) -> bool:
        """Return True."""
        return True

    def options(self) -> dict[str, object]:
        """Return no options: they come from the command line and the environment."""
        return {}

    def log(self, record: logging.LogRecord) -> None:
        """Do no more: the record is on stderr."""

    def report_progress(self, done: int, total: int, text: str) -> None:
        """Do no more: progress is on stderr."""

    def report_end(self, receipt: Receipt, exit_code: int, summary: str) -> None:
        """Do no more: the receipt is on stdout."""


def detect(environ: Mapping[str, str]) -> Launcher:
    """Return the launcher that set this environment; ShellLauncher if none did."""
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
    return ShellLauncher()
