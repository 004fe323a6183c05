"""A job's command line: the verbs run, check, plan and describe, one receipt on stdout, the right exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import click

from jobkit import declaration as declarations
from jobkit import errors, logs, report, secrets
from jobkit import receipt as receipts
from jobkit.report import files

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from jobkit.answers import Meaning
    from jobkit.declaration import Declaration
    from jobkit.report.lineage import Lineage

STOP_WITHIN_S = 8.0  # the contract gives ten; what has not unwound by then is cut off, which is safe at any point
_STOPPED = errors.StoppedError.exit_code
_STOPPED_TOLD = "stopped by SIGTERM; nothing half done is visible, run it again to finish"
_JSON_TYPES = {"integer": "integer", "float": "number", "boolean": "boolean"}


class _Sigterm(BaseException):
    """SIGTERM, on its way out through code that catches every Exception: botocore takes one for a lost connection and asks again."""


class Job:
    """One run of a job, as its code sees it: where it records outcomes, logs and shows progress."""

    def __init__(self, account: receipts.Account, launcher: report.Launcher, log: logging.Logger) -> None:
        self.name, self.version = account.declaration.name, account.declaration.version
        self.hosts, self.max_body_bytes = account.declaration.hosts, account.declaration.max_body_bytes
        self.run_id, self.details, self.log = account.run_id, account.details, log
        self._account, self._launcher, self._progress = account, launcher, logs.Progress(log)

    def outcome(
        self,
        dataset: str,
        partition: str,
        outcome: receipts.Outcome,
        *,
        rows: int = 0,
        bytes: int = 0,  # noqa: A002  the receipt's own word
        sha256: str | None = None,
        quarantined: int = 0,
        **details: Any,  # noqa: ANN401  free JSON
    ) -> None:
        """Record what became of one partition."""
        entry = {"dataset": dataset, "partition": partition, "outcome": outcome, "rows": rows, "bytes": bytes}
        self._account.partitions.append({**entry, "sha256": sha256, "quarantined": quarantined, **details})

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the job is, here and to the launcher."""
        self._progress.show(done, total, text)
        self._launcher.progress(done, total, text)


def build(
    package: str,
    options: Sequence[click.Option],
    *,
    run: Callable[..., None],
    check: Callable[..., None],
    plan: Callable[..., list[dict[str, Any]]],
    answers: Sequence[Meaning] = (),
) -> Callable[[], NoReturn]:
    """The console command of a job package: each verb takes the same options and a Job first. `answers` are its vendor's refusals."""

    def main() -> NoReturn:
        declared = declarations.of_package(package)

        def planned(job: Job, **given: Any) -> None:  # noqa: ANN401
            job.details["plan"] = plan(job, **given)

        _invoke(declared, package, list(options), {"run": run, "check": check, "plan": planned}, answers)

    return main


def _invoke(
    declared: Declaration, package: str, options: list[click.Option], verbs: dict[str, Callable[..., None]], answers: Sequence[Meaning]
) -> NoReturn:
    """Parse, call, report, exit."""
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    launcher = report.launcher(os.environ) if asked in verbs and sys.argv[1] == asked else report.Plain()
    log = logs.set_up(launcher.log)
    accounts = {verb: receipts.Account(declared, verb) for verb in verbs}

    def call(verb: str, **given: Any) -> None:  # noqa: ANN401
        accounts[verb].arguments = _shown(given, declared.secrets)
        verbs[verb](Job(accounts[verb], launcher, log), **given)

    group = click.Group(declared.name, help=declared.description, no_args_is_help=True)
    trace = click.Option(
        ["--trace"], metavar="URL", expose_value=False, callback=_traced, help="Tell this OpenTelemetry collector of the run (OTLP, HTTP)."
    )
    for verb, function in verbs.items():
        text = {"run": "Do it.", "check": "Try credentials, reachability and permissions; move nothing."}
        wanted = text.get(verb, "Say what run would do.")
        callback = _bind(call, verb)
        group.add_command(
            click.Command(verb, params=[*options, trace], callback=callback, help=function.__doc__ if verb == "run" else wanted)
        )
    group.add_command(
        click.Command("describe", callback=lambda: _print(describe(declared, options, answers)), help="Print what this job is, as JSON.")
    )
    click.version_option(declared.version, prog_name=declared.name)(group)

    if asked not in verbs:
        group.main(prog_name=declared.name)
    if not launcher.started():
        sys.exit(0)
    told = None
    try:
        _stop_on_sigterm()
        told = _lineage(declared, package, accounts[asked])
        exit_code, error = _outcome(group, declared, asked, launcher, log)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what it came to is known, and is told in full
    except _Sigterm:
        exit_code, error = _failed(log, _STOPPED, _STOPPED_TOLD)
    _end(accounts[asked].receipt(exit_code=exit_code, error=error), launcher, exit_code, told)


def _lineage(declared: Declaration, package: str, account: receipts.Account) -> Lineage | None:
    """What tells OpenLineage or CloudWatch of a run, where the environment asks for it."""
    if account.verb != "run" or not any(name.startswith("OPENLINEAGE_") or name == "FINELT_METRICS" for name in os.environ):
        return None
    from jobkit.report import lineage  # noqa: PLC0415  only a job that is asked pays for it

    told = lineage.Lineage(os.environ, declared, account.run_id, package)
    told.started(account.started_at)
    return told


def _traced(_context: click.Context, _option: click.Parameter, url: str | None) -> None:
    """As the standard's own variable says it, which a run has from its environment as well."""
    if url:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url


def _bind(call: Callable[..., None], verb: str) -> Callable[..., None]:
    return lambda **given: call(verb, **given)


def _outcome(
    group: click.Group, declared: Declaration, verb: str, launcher: report.Launcher, log: logging.Logger
) -> tuple[int, str | None]:
    """The exit code, and the sentence when it is not 0."""
    try:
        defaults = {verb: launcher.parameters()}
        code = group.main(prog_name=declared.name, standalone_mode=False, default_map=defaults, obj=declared)
    except click.ClickException as error:
        return _failed(log, errors.UsageError.exit_code, error.format_message())
    except errors.JobError as error:
        if isinstance(error, errors.RefusedError) and (rotated := secrets.changed()):
            error = errors.TemporaryError(f"{error}; the secret at {rotated} has changed since, so a new run may do")
        return _failed(log, error.exit_code, str(error))
    except (click.Abort, KeyboardInterrupt):
        return _failed(log, 130, "interrupted from the keyboard; nothing half done is visible")
    except Exception as error:  # the one place that turns a bug into an exit code
        log.exception("bug")
        return errors.EXIT_BUG, f"a bug in {declared.name}: {type(error).__name__}: {error}"
    if isinstance(code, int) and code == 0 and "--help" in sys.argv:
        sys.exit(0)
    return 0, None


def _failed(log: logging.Logger, exit_code: int, sentence: str) -> tuple[int, str]:
    log.error(sentence)
    return exit_code, sentence


def _end(receipt: dict[str, Any], launcher: report.Launcher, exit_code: int, told: Lineage | None) -> NoReturn:
    if told is not None:
        told.measured(receipt)
    _print(receipt)  # after this a job says nothing more unless its launcher wants it: Airflow's DockerOperator takes the last line
    files.write(os.environ, receipt, receipts.sentence(receipt))
    launcher.finished(receipt, exit_code, receipts.sentence(receipt))
    if told is not None:
        told.finished(receipt)
    if receipt["verb"] == "run" and any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        from jobkit.report import trace  # noqa: PLC0415  only a job that is asked pays for it

        trace.finished(os.environ, receipt)
    if sys.stderr.isatty():
        sys.stderr.write(f"{receipts.sentence(receipt)}\n")
    if exit_code in (_STOPPED, 130):
        sys.stderr.flush()
        os._exit(exit_code)  # worker threads may still be in a call; what they hold was never committed
    sys.exit(exit_code)


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


def _stop_on_sigterm() -> None:
    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        last_resort = threading.Timer(STOP_WITHIN_S, os._exit, [_STOPPED])
        last_resort.daemon = True
        last_resort.start()
        raise _Sigterm

    signal.signal(signal.SIGTERM, stop)


def _shown(given: dict[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    return {name: "***" if name in hidden and value else _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def describe(declared: Declaration, options: Sequence[click.Option], answers: Sequence[Meaning] = ()) -> dict[str, Any]:
    """What a job is, in JSON: options as JSON Schema, datasets, secrets, hosts, its vendor's refusals, resources, schedule, exit codes."""
    return {
        "job": declared.name,
        "version": declared.version,
        "description": declared.description,
        "options": {
            "type": "object",
            "properties": {str(option.name): _schema(option) for option in options},
            "required": [str(option.name) for option in options if option.required],
            "additionalProperties": False,
        },
        "datasets": {"reads": list(declared.reads), "writes": list(declared.writes)},
        "secrets": list(declared.secrets),
        "hosts": list(declared.hosts),
        "answers": [meaning._asdict() for meaning in answers],
        "resources": {"cpu": declared.cpu, "memory": declared.memory, **_body_limit(declared)},
        "schedule": declared.schedule,
        "timezone": declared.timezone,
        "concurrency": declared.concurrency,
        "exit_codes": {str(code): meaning for code, meaning in errors.EXIT_CODES.items()},
    }


def _body_limit(declared: Declaration) -> dict[str, int]:
    """The largest answer or file, for a job that takes any from outside."""
    return {"max_body_bytes": declared.max_body_bytes} if declared.hosts or declared.max_body_mib else {}


def _schema(option: click.Option) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": _JSON_TYPES.get(option.type.name.partition(" ")[0], "string")}
    if isinstance(option.type, click.IntRange | click.FloatRange) and option.type.min is not None:
        kind["minimum"] = option.type.min
    if option.type.name == "date":
        kind["format"] = "date"
    if isinstance(option.type, click.Choice):
        kind["enum"] = list(option.type.choices)
    schema: dict[str, Any] = {"type": "array", "items": kind} if option.multiple else kind
    schema["description"] = option.help or ""
    if isinstance(option.default, str | int | float | bool):
        schema["default"] = option.default
    return schema
