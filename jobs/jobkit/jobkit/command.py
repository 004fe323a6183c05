"""A job's command line: the verbs run, check, plan and describe, one receipt on stdout, the right exit code."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import click

from jobkit import declaration as declarations
from jobkit import errors, launchers, logs, options, redaction, secrets, urls
from jobkit import receipt as receipts
from jobkit.errors import ExitCode
from jobkit.interruption import Interrupted, Interruption
from jobkit.launchers import files

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from jobkit.answers import Meaning
    from jobkit.declaration import Declaration
    from jobkit.telemetry.openlineage import Lineage

_CUT_OFF_WITHIN_S = {ExitCode.STOPPED: 1.5}  # of the ten seconds after SIGTERM; the deadline leaves time to report in full
_REPORT_WITHIN_S = 150.0
_JSON_TYPES = {"integer": "integer", "float": "number", "boolean": "boolean"}


class Job:
    """One run of a job, as its code sees it: where it records outcomes, logs and shows progress."""

    def __init__(self, account: receipts.Account, launcher: launchers.Launcher, log: logging.Logger) -> None:
        self.name, self.version = account.declaration.name, account.declaration.version
        self.hosts, self.max_body_bytes = account.declaration.hosts, account.declaration.max_body_bytes
        self.deadline_s = float(account.declaration.deadline_s)
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
    own: Sequence[click.Option],
    *,
    run: Callable[..., None],
    check: Callable[..., None],
    plan: Callable[..., list[dict[str, Any]]],
    answers: Sequence[Meaning] = (),
) -> Callable[[], NoReturn]:
    """The console command of a job package: each verb takes the same options, its `own` and those of every job, and a Job first.

    `answers` are what its vendor's refusals mean.
    """

    def main() -> NoReturn:
        declared = declarations.of_package(package)

        def planned(job: Job, **given: Any) -> None:  # noqa: ANN401
            job.details["plan"] = plan(job, **given)

        verbs: dict[str, Callable[..., None]] = {"run": run, "check": check, "plan": planned}
        _invoke(declared, package, [*own, options.deadline(declared.deadline_s)], verbs, answers)

    return main


def _invoke(
    declared: Declaration,
    package: str,
    given_options: list[click.Option],
    verbs: dict[str, Callable[..., None]],
    answers: Sequence[Meaning],
) -> NoReturn:
    """Parse, call, report, exit."""
    redaction.protect_environment(os.environ)
    redaction.cover_streams()
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    accounts = {verb: receipts.Account(declared, verb) for verb in verbs}
    if asked in verbs:
        _check_environment(accounts[asked])
    launcher = launchers.launcher(os.environ) if asked in verbs and sys.argv[1] == asked else launchers.Plain()
    log = logs.set_up(launcher.log)
    told = None
    ending = threading.Lock()  # whoever takes it ends the process

    def cut_off(cause: Interrupted) -> None:
        """End with a receipt in place of a main thread that hangs."""
        if not ending.acquire(blocking=False):
            if cause.exit_code == ExitCode.STOPPED:
                os._exit(ExitCode.STOPPED)
            return  # it has come through after all, and reports
        within_s = _CUT_OFF_WITHIN_S.get(cause.exit_code, _REPORT_WITHIN_S)
        threading.Timer(within_s, os._exit, [cause.exit_code]).start()
        try:
            _end(accounts[asked].receipt(exit_code=cause.exit_code, error=cause.sentence), launcher, cause.exit_code, told, at_once=True)
        finally:
            os._exit(cause.exit_code)

    interruption = Interruption(cut_off)

    def call(verb: str, *, deadline: int, **given: Any) -> None:  # noqa: ANN401
        interruption.set_deadline(deadline)
        accounts[verb].arguments = _shown({**given, "deadline": deadline}, declared.secrets)
        job = Job(accounts[verb], launcher, log)
        job.deadline_s = float(deadline)
        verbs[verb](job, **given)

    group = _group(declared, given_options, {verb: (function, _bind(call, verb)) for verb, function in verbs.items()}, answers)
    if asked not in verbs:
        group.main(prog_name=declared.name)
    if not launcher.started():
        sys.exit(0)
    try:
        interruption.listen(declared.deadline_s)
        told = _lineage(declared, package, accounts[asked])
        exit_code, error = _outcome(group, declared, asked, launcher, log)
        at_once = False
        interruption.settle()
    except Interrupted as cause:
        interruption.settle()
        at_once = True
        exit_code, error = _failed(log, cause.exit_code, cause.sentence)
    if not ending.acquire(blocking=False):
        threading.Event().wait()  # cut off: another thread ends the process
    _end(accounts[asked].receipt(exit_code=exit_code, error=error), launcher, exit_code, told, at_once=at_once)


def _check_environment(account: receipts.Account) -> None:
    """Nothing, when no URL in the environment holds a credential; the end with exit code 2, told to nobody but stdout, otherwise."""
    try:
        urls.check_environment(os.environ)
    except errors.UsageError as error:
        receipt = account.receipt(exit_code=error.exit_code, error=str(error))
        _print(receipt)
        files.write(os.environ, receipt, receipts.sentence(receipt))
        sys.exit(error.exit_code)


def _group(
    declared: Declaration,
    given_options: Sequence[click.Option],
    verbs: dict[str, tuple[Callable[..., None], Callable[..., None]]],
    answers: Sequence[Meaning],
) -> click.Group:
    """The command: for each verb its function, which explains it, and what is called."""
    group = click.Group(declared.name, help=declared.description, no_args_is_help=True)
    trace = click.Option(
        ["--trace"],
        metavar="URL",
        type=options.Checked(urls.check_web),
        expose_value=False,
        callback=_traced,
        help="Tell this OpenTelemetry collector of the run (OTLP, HTTP).",
    )
    for verb, (function, callback) in verbs.items():
        text = {"run": "Do it.", "check": "Try credentials, reachability and permissions; move nothing."}
        wanted = text.get(verb, "Say what run would do.")
        group.add_command(
            click.Command(verb, params=[*given_options, trace], callback=callback, help=function.__doc__ if verb == "run" else wanted)
        )
    described = click.Command(
        "describe", callback=lambda: _print(describe(declared, given_options, answers)), help="Print what this job is, as JSON."
    )
    group.add_command(described)
    click.version_option(declared.version, prog_name=declared.name)(group)
    return group


def _lineage(declared: Declaration, package: str, account: receipts.Account) -> Lineage | None:
    """What tells OpenLineage or CloudWatch of a run, where the environment asks for it."""
    if account.verb != "run" or not any(name.startswith("OPENLINEAGE_") or name == "FINELT_METRICS" for name in os.environ):
        return None
    from jobkit.telemetry import openlineage  # noqa: PLC0415  only a job that is asked pays for it

    told = openlineage.Lineage(os.environ, declared, account.run_id, package)
    told.started(account.started_at)
    return told


def _traced(_context: click.Context, _option: click.Parameter, url: str | None) -> None:
    """As the standard's own variable says it, which a run has from its environment as well."""
    if url:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url


def _bind(call: Callable[..., None], verb: str) -> Callable[..., None]:
    return lambda **given: call(verb, **given)


def _outcome(
    group: click.Group, declared: Declaration, verb: str, launcher: launchers.Launcher, log: logging.Logger
) -> tuple[ExitCode, str | None]:
    """The exit code, and the sentence when it is not 0."""
    try:
        defaults = {verb: launcher.parameters()}
        code = group.main(prog_name=declared.name, standalone_mode=False, default_map=defaults, obj=declared)
    except click.ClickException as error:
        return _failed(log, errors.UsageError.exit_code, _usage(error))
    except errors.JobError as error:
        if isinstance(error, errors.AuthError) and (rotated := secrets.changed()):
            error = errors.TemporaryError(f"{error}; the secret at {rotated} has changed since, so a new run may do")
        return _failed(log, error.exit_code, str(error))
    except (click.Abort, KeyboardInterrupt):
        return _failed(log, ExitCode.INTERRUPTED, "interrupted from the keyboard; nothing half done is visible")
    except Exception as error:  # the one place that turns a bug into an exit code
        log.exception("bug")
        return ExitCode.BUG, f"a bug in {declared.name}: {type(error).__name__}: {error}"
    if isinstance(code, int) and code == 0 and "--help" in sys.argv:
        sys.exit(0)
    return ExitCode.DONE, None


def _usage(error: click.ClickException) -> str:
    """What click says of the command line, but for words that belong to no option: one of them may be a secret."""
    said = error.format_message()
    if said.startswith("Got unexpected extra argument"):
        return "a word of the command line belongs to no option (and is not repeated here); options are given as --name VALUE"
    return said


def _failed(log: logging.Logger, exit_code: ExitCode, sentence: str) -> tuple[ExitCode, str]:
    log.error(sentence)
    return exit_code, sentence


def _end(receipt: dict[str, Any], launcher: launchers.Launcher, exit_code: ExitCode, told: Lineage | None, *, at_once: bool) -> NoReturn:
    if told is not None:
        told.measured(receipt)
    _print(receipt)  # after this a job says nothing more unless its launcher wants it: Airflow's DockerOperator takes the last line
    files.write(os.environ, receipt, receipts.sentence(receipt))
    launcher.finished(receipt, exit_code, receipts.sentence(receipt))
    if told is not None:
        told.finished(receipt)
    if receipt["verb"] == "run" and any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        from jobkit.telemetry import opentelemetry as trace  # noqa: PLC0415  only a job that is asked pays for it

        trace.finished(os.environ, receipt)
    if sys.stderr.isatty():
        sys.stderr.write(f"{receipts.sentence(receipt)}\n")
    if at_once or exit_code == ExitCode.INTERRUPTED or any(_is_in_the_way(thread) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)  # worker threads may still be in a call, perhaps for ever; what they hold was never committed
    sys.exit(exit_code)


def _is_in_the_way(thread: threading.Thread) -> bool:
    """Whether the end of the process would wait for this thread."""
    return not thread.daemon and thread is not threading.current_thread()


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(redaction.to_json(document) + "\n")
    sys.stdout.flush()


def _shown(given: dict[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    return {name: "***" if name in hidden and value else _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def describe(declared: Declaration, given_options: Sequence[click.Option], answers: Sequence[Meaning] = ()) -> dict[str, Any]:
    """What a job is, in JSON: options as JSON Schema, datasets, secrets, hosts, refusals, resources, deadline, schedule, exit codes."""
    return {
        "job": declared.name,
        "version": declared.version,
        "description": declared.description,
        "options": {
            "type": "object",
            "properties": {str(option.name): _schema(option) for option in given_options},
            "required": [str(option.name) for option in given_options if option.required],
            "additionalProperties": False,
        },
        "datasets": {"reads": list(declared.reads), "writes": list(declared.writes)},
        "secrets": list(declared.secrets),
        "hosts": list(declared.hosts),
        "answers": [meaning._asdict() for meaning in answers],
        "resources": {"cpu": declared.cpu, "memory": declared.memory, **_body_limit(declared)},
        "deadline_s": declared.deadline_s,
        "schedule": declared.schedule,
        "timezone": declared.timezone,
        "concurrency": declared.concurrency,
        "exit_codes": {str(code): code.meaning for code in ExitCode},
    }


def _body_limit(declared: Declaration) -> dict[str, int]:
    """The largest answer or file, for a job that takes any from outside."""
    return {"max_body_bytes": declared.max_body_bytes} if declared.hosts or declared.max_body_mib else {}


def _schema(option: click.Option) -> dict[str, Any]:
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
