"""A job's command line: the verbs run, check, plan and describe, one receipt on stdout, the right exit code.

`build` is the public entrance. A call goes through these steps:

1. Read the options from the command line, the environment and the launcher.
2. Watch for SIGTERM and the deadline (jobkit.interruption).
3. Call the verb. Every exception becomes an exit code here and nowhere else (jobkit.errors).
4. Print the receipt on stdout, write it where the environment asks for it, report to the launcher, send telemetry, exit.

`describe` does none of this: it must answer within 0.2 s and without a network.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from jobkit import declaration as declarations
from jobkit import deprecation, errors, launchers, logs, options, redaction, secrets, urls
from jobkit import receipt as receipts
from jobkit.errors import ExitCode
from jobkit.interruption import Interrupted, Interruption
from jobkit.launchers import files

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from jobkit.declaration import Declaration
    from jobkit.receipt import Receipt
    from jobkit.refusals import Meaning
    from jobkit.telemetry.openlineage import Lineage

_CUT_OFF_WITHIN_S = {ExitCode.STOPPED: 1.5}  # of the ten seconds after SIGTERM; the deadline leaves time to report in full
# Docker splits a line of 16 KiB, and ECS joins the parts up to 256 KiB. Source: "Using the awslogs log driver", AWS's guide of Fargate.
LONGEST_LOG_LINE_BYTES = 256 * 1024
_REPORT_WITHIN_S = 150.0
_JSON_TYPES = {"integer": "integer", "float": "number", "boolean": "boolean"}
_HELP_OPTIONS = ("-h", "--help")
_HELP = {"check": "Test credentials, reachability and permissions; move nothing.", "plan": "Print what run would do."}


class Job:
    """One run of a job, as the job's code sees it: where it records outcomes, logs and shows progress.

    name, version: of the job.
    hosts: the hosts that the job may call.
    max_body_bytes: the largest response or dropped file, unpacked.
    datasets: those of the lake that the job writes.
    deadline_s: seconds after its start at which the run is ended.
    run_id: 32 hexadecimal digits, unique to the run.
    details: free JSON for the receipt, which this job alone reports.
    log: writes to stderr and to the launcher; JSON lines where stderr is no terminal.
    """

    def __init__(self, record: receipts.RunRecord, launcher: launchers.Launcher, log: logging.Logger) -> None:
        self.name, self.version = record.declaration.name, record.declaration.version
        self.hosts, self.max_body_bytes = record.declaration.hosts, record.declaration.max_body_bytes
        self.deadline_s = float(record.declaration.deadline_s)
        self.datasets = [name.removeprefix("raw/") for name in record.declaration.writes if name.startswith("raw/")]
        self.run_id, self.details, self.log = record.run_id, record.details, log
        self._record, self._launcher, self._progress = record, launcher, logs.Progress(log)

    def record_partition(
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
        """Record the outcome of one partition in the receipt.

        `rows` are the valid rows, `bytes` and `sha256` are those of its Parquet file. `details` are further keys of
        `jobkit.receipt.Partition`, such as `reason` for one that is skipped or failed.
        """
        entry = {"dataset": dataset, "partition": partition, "outcome": outcome, "rows": rows, "bytes": bytes}
        self._record.partitions.append(cast("receipts.Partition", {**entry, "sha256": sha256, "quarantined": quarantined, **details}))

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show on stderr, and report to the launcher, that `done` of `total` steps are done."""
        self._progress.show(done, total, text)
        self._launcher.report_progress(done, total, text)


def build(
    package: str,
    own: Sequence[click.Option],
    *,
    run: Callable[..., None],
    check: Callable[..., None],
    plan: Callable[..., list[dict[str, Any]]],
    answers: Sequence[Meaning] = (),
) -> Callable[[], NoReturn]:
    """Build the console command of a job package.

    Each verb is called with a Job and the job's `own` options as keyword arguments. It ends the run by raising a JobError, whose exit code
    is that of the process; any other exception is a bug and exits with 70. `plan` returns what `run` would do, as JSON objects, which the
    receipt shows under `details`. `answers` lists what the refusals of the job's vendor mean; `describe` shows it.
    """

    def main() -> NoReturn:
        declared = declarations.read_package(package)

        def print_plan(job: Job, **arguments: Any) -> None:  # noqa: ANN401
            job.details["plan"] = plan(job, **arguments)

        verbs: dict[str, Callable[..., None]] = {"run": run, "check": check, "plan": print_plan}
        _invoke(declared, package, [*own, options.deadline(declared.deadline_s)], verbs, answers)

    return main


def _invoke(
    declared: Declaration,
    package: str,
    job_options: list[click.Option],
    verbs: dict[str, Callable[..., None]],
    answers: Sequence[Meaning],
) -> NoReturn:
    """Parse, call, report, exit.

    Only the thread that takes the lock `ending` reports: the main thread, or `cut_off` in a timer's thread if the main thread hangs.
    """
    redaction.protect_environment(os.environ)
    redaction.redact_streams()
    warnings = deprecation.rename_variables(os.environ)
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    records = {name: receipts.RunRecord(declared, name) for name in verbs}
    if verb in verbs:
        _check_environment(records[verb])
    launcher = launchers.detect(os.environ) if verb in verbs and sys.argv[1] == verb else launchers.ShellLauncher()
    log, lineage, ending = logs.set_up(launcher.log), None, threading.Lock()  # the thread that takes the lock ends the process

    def cut_off(cause: Interrupted) -> None:
        """End with a receipt in place of a main thread that hangs."""
        if not ending.acquire(blocking=False):
            if cause.exit_code == ExitCode.STOPPED:
                os._exit(ExitCode.STOPPED)
            return  # the main thread got through after all, and reports
        within_s = _CUT_OFF_WITHIN_S.get(cause.exit_code, _REPORT_WITHIN_S)
        threading.Timer(within_s, os._exit, [cause.exit_code]).start()
        try:
            receipt = records[verb].make_receipt(exit_code=cause.exit_code, error=cause.message)
            _end(receipt, launcher, cause.exit_code, lineage, log, at_once=True)
        finally:
            os._exit(cause.exit_code)

    interruption = Interruption(cut_off)

    def call(name: str, *, deadline: int, **arguments: Any) -> None:  # noqa: ANN401
        interruption.set_deadline(deadline)
        _log_warnings(log, warnings)
        records[name].arguments = _mask_arguments({**arguments, "deadline": deadline}, declared.secrets)
        job = Job(records[name], launcher, log)
        job.deadline_s = float(deadline)
        verbs[name](job, **arguments)

    group = _group(declared, job_options, {name: (function, _bind(call, name)) for name, function in verbs.items()}, answers)
    if verb not in verbs:
        group.main(prog_name=declared.name)
    if not launcher.claim():
        sys.exit(ExitCode.DONE)
    try:
        interruption.listen(declared.deadline_s)
        lineage = _start_lineage(declared, package, records[verb])
        exit_code, error = _outcome(group, declared, verb, launcher, log, interruption)
        at_once = False
        interruption.settle()
    except Interrupted as cause:
        interruption.settle()
        at_once = True
        exit_code, error = _failed(log, cause.exit_code, cause.message)
    if not ending.acquire(blocking=False):
        threading.Event().wait()  # cut off: another thread ends the process
    _end(records[verb].make_receipt(exit_code=exit_code, error=error), launcher, exit_code, lineage, log, at_once=at_once)


def _check_environment(record: receipts.RunRecord) -> None:
    """End with exit code 2 where a URL in the environment holds a credential; the launcher behind that URL is not called."""
    try:
        urls.check_environment(os.environ)
    except errors.UsageError as error:
        receipt = record.make_receipt(exit_code=error.exit_code, error=str(error))
        _print(receipt)
        files.write(os.environ, receipt, receipts.summary(receipt))
        sys.exit(error.exit_code)


def _group(
    declared: Declaration,
    job_options: Sequence[click.Option],
    verbs: dict[str, tuple[Callable[..., None], Callable[..., None]]],
    answers: Sequence[Meaning],
) -> click.Group:
    """Build the click command. `verbs` has for each verb the function whose docstring is its help, and the callback."""
    help_names = {"help_option_names": list(_HELP_OPTIONS)}
    group = click.Group(declared.name, help=declared.description, no_args_is_help=True, context_settings=help_names)
    trace = click.Option(
        ["--trace"],
        metavar="URL",
        type=options.CheckedText(urls.check_web),
        expose_value=False,
        callback=_export_trace_endpoint,
        help="Send a span about the run to this OpenTelemetry collector (OTLP over HTTP).",
    )
    for verb, (function, callback) in verbs.items():
        group.add_command(
            click.Command(verb, params=[*job_options, trace], callback=callback, help=_HELP.get(verb, function.__doc__ or "Do the work."))
        )
    described = click.Command(
        "describe",
        callback=lambda: _print(describe(declared, job_options, answers), indent=2 if sys.stdout.isatty() else None),
        help="Print what this job is, as JSON.",
    )
    group.add_command(described)
    click.version_option(declared.version, prog_name=declared.name)(group)
    return group


def _start_lineage(declared: Declaration, package: str, record: receipts.RunRecord) -> Lineage | None:
    """Send OpenLineage's START where the environment enables OpenLineage or CloudWatch metrics; None where it enables neither.

    OpenLineage's events: https://openlineage.io/docs/spec/run-cycle
    """
    if record.verb != "run" or not any(name.startswith("OPENLINEAGE_") or name == "FINELT_METRICS" for name in os.environ):
        return None
    from jobkit.telemetry import openlineage  # noqa: PLC0415  only a run with telemetry pays for it

    lineage = openlineage.Lineage(os.environ, declared, record.run_id, package)
    lineage.send_start(record.started_at)
    return lineage


def _export_trace_endpoint(_context: click.Context, _option: click.Parameter, url: str | None) -> None:
    """Set the variable from which the telemetry reads the endpoint.

    It is OpenTelemetry's own: https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/
    """
    if url:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url


def _bind(call: Callable[..., None], verb: str) -> Callable[..., None]:
    return lambda **arguments: call(verb, **arguments)


def _outcome(
    group: click.Group, declared: Declaration, verb: str, launcher: launchers.Launcher, log: logging.Logger, interruption: Interruption
) -> tuple[ExitCode, str | None]:
    """Run the verb; return the exit code, and the message if the code is not 0.

    A refused credential whose secret was rotated meanwhile is temporary (75): the next run reads the new secret.
    """
    try:
        try:
            values, warnings = deprecation.rename_parameters(launcher.options())
            _log_warnings(log, warnings)
            code = group.main(prog_name=declared.name, standalone_mode=False, default_map={verb: values}, obj=declared)
        finally:
            interruption.raise_again()
    except click.ClickException as error:
        return _failed(log, ExitCode.USAGE, _usage_message(error))
    except errors.JobError as error:
        if isinstance(error, errors.AuthError) and (reference := secrets.rotated_reference()):
            error = errors.TemporaryError(f"{error}; the secret at {reference} was rotated during this run, so run it again")
        return _failed(log, error.exit_code, str(error))
    except (click.Abort, KeyboardInterrupt):
        return _failed(log, ExitCode.INTERRUPTED, "interrupted from the keyboard; no partial result is visible")
    except Exception as error:  # the one place that turns a bug into an exit code
        log.exception("bug")
        return ExitCode.BUG, f"a bug in {declared.name}: {type(error).__name__}: {error}"
    if isinstance(code, int) and code == 0 and set(_HELP_OPTIONS).intersection(sys.argv):
        sys.exit(ExitCode.DONE)
    return ExitCode.DONE, None


def _usage_message(error: click.ClickException) -> str:
    """Return click's message, unless it repeats words that belong to no option: one of them may be a secret."""
    message = error.format_message()
    if message.startswith("Got unexpected extra argument"):
        return "the command line has a word that belongs to no option (not repeated, as it may be a secret); write options as --name VALUE"
    return message


def _log_warnings(log: logging.Logger, warnings: Sequence[str]) -> None:
    for warning in warnings:
        log.warning(warning)


def _failed(log: logging.Logger, exit_code: ExitCode, message: str) -> tuple[ExitCode, str]:
    log.error(message)
    return exit_code, message


def _end(
    receipt: Receipt, launcher: launchers.Launcher, exit_code: ExitCode, lineage: Lineage | None, log: logging.Logger, *, at_once: bool
) -> NoReturn:
    """Report the end everywhere, then exit. With `at_once`, do not wait for other threads, which may hang.

    A launcher or collector that cannot be reached changes neither the receipt nor the exit code.
    """
    summary = receipts.summary(receipt)
    if receipt["error"] is None and not sys.stderr.isatty():  # a terminal gets it after the receipt; an error is logged where it happens
        log.info(summary, extra={"elapsed_s": receipt["elapsed_s"]})
    if lineage is not None:
        lineage.print_metrics(receipt)
    _print_receipt(receipt)  # the last line on stdout unless the launcher needs another: Airflow's DockerOperator takes the last line
    files.write(os.environ, receipt, summary)
    launcher.report_end(receipt, exit_code, summary)
    if lineage is not None:
        lineage.send_end(receipt)
    if receipt["verb"] == "run" and any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        from jobkit.telemetry import opentelemetry  # noqa: PLC0415  only a run with telemetry pays for it

        opentelemetry.send_span(os.environ, receipt)
    if sys.stderr.isatty():
        sys.stderr.write(f"{_format_plan(receipt['details'].get('plan', []))}{summary}\n")
    if at_once or exit_code == ExitCode.INTERRUPTED or any(_blocks_exit(thread) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)  # worker threads may be in a call that never returns; what they hold was never committed
    sys.exit(exit_code)


def _format_plan(plan: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of a plan as a table for a person, with the number of the commit that the lake has, or `none`."""
    if not plan:
        return ""
    names = tuple(dict.fromkeys(name for row in plan for name in row))
    values = ([row.get(name) for name in names] for row in plan)
    rows = [names, *(tuple("none" if value is None else redaction.redact(str(value)) for value in row) for row in values)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _blocks_exit(thread: threading.Thread) -> bool:
    """Whether the interpreter would wait for this thread before it exits."""
    return not thread.daemon and thread is not threading.current_thread()


def _print(document: object, *, indent: int | None = None) -> str:
    """Print a document as JSON and return what was printed."""
    text = redaction.to_json(document, indent=indent)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return text


def _print_receipt(receipt: Receipt) -> None:
    """Print the receipt; if its line is too long for a log driver, also print its figures as a log line, which alarms can count."""
    if len(_print(receipt).encode()) >= LONGEST_LOG_LINE_BYTES and not sys.stderr.isatty():
        figures = {key: value for key, value in receipt.items() if not isinstance(value, list | dict)}
        sys.stderr.write(redaction.to_json({"event": "receipt", **figures}) + "\n")


def _mask_arguments(arguments: dict[str, Any], secret_names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments as JSON for the receipt, with `***` in place of references to secrets."""
    return {name: "***" if name in secret_names and value else _to_plain(value) for name, value in arguments.items()}


def _to_plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def describe(declared: Declaration, job_options: Sequence[click.Option], answers: Sequence[Meaning] = ()) -> dict[str, Any]:
    """Return what a job is, as JSON: options as JSON Schema, datasets, secrets, hosts, refusals, resources, schedule, exit codes.

    `resources` has cpu in Fargate units, memory and tmp in MiB, max_body_bytes; `exit_codes` has the meaning of each code, by its number as
    text. JSON Schema: https://json-schema.org/draft/2020-12
    """
    return {
        "job": declared.name,
        "version": declared.version,
        "description": declared.description,
        "options": {
            "type": "object",
            "properties": {str(option.name): _schema(option) for option in job_options},
            "required": [str(option.name) for option in job_options if option.required],
            "additionalProperties": False,
        },
        "datasets": {"reads": list(declared.reads), "writes": list(declared.writes)},
        "secrets": list(declared.secrets),
        "hosts": list(declared.hosts),
        "answers": [meaning._asdict() for meaning in answers],
        "resources": {"cpu": declared.cpu, "memory": declared.memory, "tmp_mib": declared.tmp_mib, **_body_limit(declared)},
        "deadline_s": declared.deadline_s,
        "schedule": declared.schedule,
        "timezone": declared.timezone,
        "concurrency": declared.concurrency,
        "exit_codes": {str(code): code.meaning for code in ExitCode},
    }


def _body_limit(declared: Declaration) -> dict[str, int]:
    """Return the size limit of a job that receives data from outside; empty for any other job."""
    return {"max_body_bytes": declared.max_body_bytes} if declared.hosts or declared.max_body_mib else {}


def _schema(option: click.Option) -> dict[str, Any]:
    """Return the JSON Schema of one option: its type, limits, choices and default; an array for an option that may be repeated."""
    kind: dict[str, Any] = {"type": _JSON_TYPES.get(option.type.name.partition(" ")[0], "string")}
    if isinstance(option.type, click.IntRange | click.FloatRange) and option.type.min is not None:
        kind["minimum"] = option.type.min
        if option.type.max is not None:
            kind["maximum"] = option.type.max
    if option.type.name == "date":
        kind["format"] = "date"
    if isinstance(option.type, click.Choice):
        kind["enum"] = list(option.type.choices)
    schema: dict[str, Any] = {"type": "array", "items": kind} if option.multiple else kind
    schema["description"] = option.help or ""
    if isinstance(option.default, str | int | float | bool):
        schema["default"] = option.default
    return schema
