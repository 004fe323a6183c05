"""The row `canaries`: vendors that echo the token in every place and encoding, wrong passwords, and credentials in URLs.

The canary is searched in all output of a job: stdout, stderr, command line, lake (decompressed, including rows), OpenLineage events,
Dagster's messages and the receipt file.
"""

from __future__ import annotations

import base64
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from jobkit.errors import ExitCode
from jobkit.lake import Lake, decompress

from verification import http_server
from verification.faults import fuzz, job_runs
from verification.sample_vendors.server import VENDORS
from verification.sample_vendors.wire import Answer, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from verification.faults.sandbox import Sandbox

TOKEN = "canary-5d1e/8a+Qr=tok~en"  # noqa: S105  which URLs, JSON and base64 all write in another way
TOKEN_IN_HOST = "canary-5d1e-8aqr-token"  # noqa: S105  likewise, for a host
HOSTS = {"extract-tiingo-prices": "api.tiingo.com", "extract-massive-daily-prices": "api.massive.com"}
WORKERS = 2

WRITINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "capitals": str.upper,
    "quoted": lambda text: quote(text, safe=""),
    "twice": lambda text: quote(quote(text, safe=""), safe=""),
    "base64": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "cut": lambda text: text[: len(text) * 3 // 4],
}


class Echo(NamedTuple):
    """A place in which a vendor echoes the secret. If `refused`, the job must not store anything of the response."""

    make: Callable[[Answer, str], Answer]
    refused: bool = True


def _host(text: str) -> str:
    """Convert a text to a valid host name."""
    return "".join(one if one.isalnum() else "-" for one in text)


def _header(name: str, form: str = "{}") -> Echo:
    return Echo(lambda answer, secret: answer._replace(headers={**answer.headers, name: form.format(secret)}), refused=False)


def _status(status: int) -> Echo:
    def make(answer: Answer, secret: str) -> Answer:
        body = json.dumps({"detail": f"Invalid token: Token {secret}"}).encode()
        headers = {"WWW-Authenticate": f'Token realm="{secret}"'}
        return answer._replace(status=status, body=body, content_type="application/json", headers=headers)

    return Echo(make)


def _body(change: Callable[[str, str], str]) -> Echo:
    return Echo(lambda answer, secret: answer._replace(body=change(answer.body.decode(), secret).encode()))


ECHOES: dict[str, Echo] = {
    "etag": _header("ETag", '"{}"'),
    "last-modified": _header("Last-Modified"),
    "set-cookie": _header("Set-Cookie", "session={}"),
    "challenge": _header("WWW-Authenticate", 'Bearer realm="{}"'),
    "media type's parameter": Echo(
        lambda answer, secret: answer._replace(content_type=f'application/json; profile="{secret}"'), refused=False
    ),
    "media type": Echo(lambda answer, secret: answer._replace(content_type=f"text/{secret.replace('/', '.')}")),
    **{str(status): _status(status) for status in (400, 401, 403, 404, 429, 500, 503)},
    "page": Echo(
        lambda answer, secret: answer._replace(
            status=403, content_type="text/html", body=f"<html><title>No</title><p>{'x ' * 60}key {secret}</p></html>".encode()
        )
    ),
    "cut off by us": Echo(
        lambda answer, secret: answer._replace(status=401, content_type="text/plain", body=f"{'x' * 140} {secret} {secret}".encode())
    ),
    "redirect by name": Echo(
        lambda answer, secret: answer._replace(status=302, headers={"Location": f"http://{_host(secret)}.invalid/"})
    ),
    "redirect by user": Echo(
        lambda answer, secret: answer._replace(status=302, headers={"Location": f"http://u:{quote(secret, safe='')}@elsewhere.invalid/"})
    ),
    "redirect by query": Echo(
        lambda answer, secret: answer._replace(status=302, headers={"Location": f"http://elsewhere.invalid/?a={quote(secret, safe='')}"})
    ),
    "error in a 200": _body(lambda _, secret: json.dumps({"detail": f"Error: the token {secret} has run over its hourly allocation"})),
    "row": _body(lambda body, secret: body.replace("{", '{"note": ' + json.dumps(secret) + ", ")),
    "row, escaped": _body(lambda body, secret: body.replace("{", '{"note": "' + "".join(f"\\u{ord(one):04x}" for one in secret) + '", ')),
    "bad row": _body(lambda body, secret: body.replace('"close":', '"close":' + json.dumps(secret) + ',"was":').replace(
        '"c":', '"c":' + json.dumps(secret) + ',"was":')),
    "no JSON": _body(lambda body, secret: f"{secret} {body}"),
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    """Answer as the vendor does, and echo the request's credential. The path selects the place and the encoding."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, place, writing, host, *below = url.path.split("/")
        secret = WRITINGS[writing](self.headers.get("Authorization", "").rpartition(" ")[2])
        request = Request("/" + "/".join(below), dict(parse_qsl(url.query)), self.headers, 1)
        answer = list(ECHOES.values())[int(place)].make(VENDORS[host](request), secret)
        self.send_response(answer.status, f"{secret} says no" if answer.status >= 400 else None)  # noqa: PLR2004
        for name, value in {"Content-Type": answer.content_type, **answer.headers, "Content-Length": str(len(answer.body))}.items():
            if name != "Transfer-Encoding":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)


@dataclass(frozen=True)
class JobOutput:
    """Everything that a job wrote, and its result."""

    ended: job_runs.JobResult
    text: str


def run_with_sinks(
    job: str, options: Sequence[str], folder: Path, *, verb: str = "run", prefix: Sequence[str] = (), **environ: str
) -> JobOutput:
    """Run a job with every local sink, and collect its output. For the prefix, see job_runs.STARTED; with it, the command line is read."""
    folder.mkdir(parents=True, exist_ok=True)
    sinks = {
        "OPENLINEAGE__TRANSPORT__TYPE": "file",
        "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(folder / "lineage"),
        "FINELT_RECEIPT_FILE": str(folder / "receipt"),
        "FINELT_METRICS": "emf",
        "DAGSTER_PIPES_CONTEXT": _packed({"data": {"extras": {}}}),
        "DAGSTER_PIPES_MESSAGES": _packed({"path": str(folder / "dagster")}),
    }
    process = job_runs.start_job(job, options, verb=verb, prefix=prefix, **sinks, **environ)
    said = [Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8")] if prefix else []
    ended = job_runs.wait_for_job(process)
    said += [ended.stdout, ended.stderr, *(path.read_text() for path in sorted(folder.iterdir()) if path.is_file())]
    return JobOutput(ended, "\n".join(said))


def _packed(document: dict[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


def read_lake_text(lake: Path) -> str:
    """Read everything in a lake as text: raw files, decompressed files and Parquet values."""
    texts = []
    for path in (path for path in lake.rglob("*") if path.is_file()):
        data = path.read_bytes()
        texts.append(data.decode("latin-1"))
        texts += [decompress(data).decode("latin-1")] if path.suffix == ".zst" else []
    where = Lake(str(lake))
    for dataset in where.datasets():
        for partition in where.partitions(dataset):
            for commit in where.history(dataset, partition):
                texts += [str(fuzz.read_values(where.read(file))) for file in (commit.data, commit.quarantine) if file]
    return "\n".join(texts)


def find_leaks(text: str, secret: str) -> list[str]:
    """Find the encodings in which a text contains a secret or its first half."""
    lower = text.lower()
    found = []
    for name, write in WRITINGS.items():
        written = write(secret).lower()[8 if name == "base64" else 0 :]  # behind what base64 makes of the user
        if written[: max(8, len(written) // 2)] in lower:
            found.append(name)
    return found


def check_echoes(sandbox: Sandbox, max_trials: int, rng: random.Random) -> tuple[int, list[str]]:
    """Run jobs against vendors that echo the token. Return the number of trials and the violations."""
    trials = [
        (job, place, writing, by)
        for job in HOSTS
        for place in ECHOES
        for writing in WRITINGS
        for by in ("env", "file")
        if place != "row, escaped" or writing == "plain"
    ]
    with http_server.serve(_Handler) as url, ThreadPoolExecutor(WORKERS) as pool:
        rng.shuffle(trials)
        first = {trial[1]: trial for trial in trials}
        chosen = [*first.values(), *(trial for trial in trials if trial not in first.values())][:max_trials]  # each place, then more
        violations = list(pool.map(lambda trial: _check_echo(sandbox, url, *trial), chosen))
    return len(chosen), [sentence for sentence in violations if sentence]


def _check_echo(sandbox: Sandbox, url: str, job: str, place: str, writing: str, by: str) -> str | None:
    lake, sinks = sandbox.new_path("lake"), sandbox.new_path("sinks")
    sinks.mkdir()
    token = TOKEN_IN_HOST if place == "redirect by name" else TOKEN
    (sinks.parent / f"{sinks.name}-token").write_text(f"{token}\n")
    reference = "env://CANARY" if by == "env" else f"file://{sinks.parent}/{sinks.name}-token"
    base = f"{url}/{list(ECHOES).index(place)}/{writing}/{HOSTS[job]}"
    days = ["--start", "2013-02-12", "--end", "2013-02-13"]
    options = ["--lake", str(lake), *sandbox.extract_options(job), *days, "--base-url", base, "--retry-timeout", "0", "--token", reference]
    output = run_with_sinks(job, options, sinks, CANARY=token)
    detail = f"{job} by {by}, token in {place} ({writing})"
    if found := find_leaks(output.text + (read_lake_text(lake) if lake.exists() else ""), token):
        return f"{detail}: it is in what it said or wrote ({', '.join(found)})"
    if output.ended.code == ExitCode.BUG or output.ended.receipt is None:
        return f"{detail}: it ended with {output.ended.code}: {output.ended.stderr[-200:]}"
    committed = output.ended.receipt["committed"]
    if ECHOES[place].refused and committed:
        return f"{detail}: it was committed"
    if not ECHOES[place].refused and (output.ended.code or not committed):
        return f"{detail}: a good answer was refused: {output.ended.receipt['error']}"
    return None


INVALID_HEADER_VALUES = ("{}\nx", "{}\x01", "{}\x7f", "{}\x00x", "{}é")


def check_unsendable_secrets(sandbox: Sandbox) -> tuple[int, list[str]]:
    """Run jobs with secrets that no header can carry. They must exit with 78 before any request."""
    violations, trials = [], 0
    for job in HOSTS:
        for form in INVALID_HEADER_VALUES:
            sinks = sandbox.new_path("sinks")
            sinks.mkdir()
            path = sinks.parent / f"{sinks.name}-token"
            path.write_bytes(form.format(TOKEN).encode())
            options = [
                "--lake",
                str(sandbox.new_path("lake")),
                *sandbox.extract_options(job),
                "--token",
                f"file://{path}",
                "--base-url",
                "http://127.0.0.1:9/",
            ]
            output = run_with_sinks(job, options, sinks)
            trials += 1
            if output.ended.code != ExitCode.MISCONFIGURED or find_leaks(output.text, TOKEN):
                violations.append(f"{job}: a token of the form {form!r} ended with {output.ended.code}")
    return trials, violations


STORE_URLS = (
    "s3://AKIA:{}@bucket/x",
    "s3://AKIA:{}/x",
    "file://u:{}@/x",
    "s3://bucket/x?X-Amz-Signature={}",
    "//u:{}@h/x",
    "https://u:{}@h/x",
)
WEB_URLS = ("https://u:{}@h", "https://{}@h", "https://h/?api_key={}", "https://h/x;token={}", "https://h:{}/x", "ftp://u:{}@h")
WAREHOUSE_URLS = (
    *(
        "postgresql://u:{}@h/x",
        "postgresql://u@h/x?password={}",
        "postgresql://u@h/x?sslpassword={}",
        "postgresql://u@h/x?options=-c%20a={}",
    ),
    *(
        "postgresql://u@h/x?p%61ssword={}",
        "postgresql://u@h/x#{}",
        "postgresql://u@h:{}/x",
        "host=h user=u password={}",
        "mysql://u:{}@h/x",
    ),
)
VARIABLES = ("PREFECT_API_URL", "OPENLINEAGE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "AWS_ENDPOINT_URL")


def check_urls(sandbox: Sandbox, max_trials: int, rng: random.Random) -> tuple[int, list[str]]:
    """Run every verb with credentials in URLs. It must exit with 2 and not repeat them."""
    secret = quote(TOKEN, safe="")
    warehouse = {name: ["--warehouse"] for name in ("load-warehouse", "transform-warehouse", "publish-marts")}
    places = {name: ["--lake"] for name in (*HOSTS, "load-warehouse")} | {"publish-marts": ["--site"], "extract-dropped-files": ["--drop"]}
    trials: list[tuple[str, str, str, str, bool]] = []
    for verb in ("run", "check", "plan"):
        for forms, jobs in (
            (WAREHOUSE_URLS, warehouse),
            (STORE_URLS, places),
            (WEB_URLS, {name: ["--base-url", "--trace"] for name in HOSTS}),
        ):
            trials += [
                (job, verb, option, form.format(secret), by_variable)
                for form in forms
                for job, given in jobs.items()
                for option in given
                for by_variable in ((False, True) if option != "--trace" else (False,))
            ]
        trials += [("extract-tiingo-prices", verb, name, form.format(secret), True) for name in VARIABLES for form in WEB_URLS[:3]]
    chosen = rng.sample(trials, min(max_trials, len(trials)))
    with ThreadPoolExecutor(WORKERS) as pool:
        violations = list(pool.map(lambda trial: _check_url(sandbox, *trial), chosen))
    return len(chosen), [sentence for sentence in violations if sentence]


def _check_url(sandbox: Sandbox, job: str, verb: str, option: str, url: str, by_variable: bool) -> str | None:  # noqa: FBT001  one of many trials
    usual = {
        "--lake": str(sandbox.new_path("lake")),
        "--warehouse": "postgresql://u@127.0.0.1:9/x",
        "--site": str(sandbox.new_path("site")),
        "--drop": str(sandbox.new_path("drop")),
    }
    needed = {
        "publish-marts": ("--warehouse", "--site"),
        "transform-warehouse": ("--warehouse",),
        "load-warehouse": ("--lake", "--warehouse"),
    }
    names = needed.get(job, ("--lake", "--drop") if job == "extract-dropped-files" else ("--lake",))
    extract_options = sandbox.extract_options(job) if job in HOSTS else []
    options = [word for name in names if name != option for word in (name, usual[name])]
    if option == "--base-url":
        at = extract_options.index("--base-url")
        del extract_options[at : at + 2]
    environ = {}
    if not by_variable:
        options += [option, url]
    else:
        environ[option if not option.startswith("--") else "FINELT_" + option[2:].replace("-", "_").upper()] = url
    output = run_with_sinks(job, [*options, *extract_options], sandbox.new_path("sinks"), verb=verb, CANARY=job_runs.TOKEN, **environ)
    if output.ended.code != 2 or find_leaks(output.text, TOKEN):  # noqa: PLR2004
        return f"{job} {verb}: {option} with a secret in it ended with {output.ended.code}: {output.text[:300]}"
    return None


def check_passwords(sandbox: Sandbox) -> tuple[int, list[str]]:
    """Run jobs with right and wrong warehouse passwords, and look for them in the errors."""
    violations, trials = [], 0
    url = sandbox.create_database()
    for job in ("load-warehouse", "transform-warehouse", "publish-marts"):
        job_options = {
            "load-warehouse": ["--lake", str(sandbox.new_path("lake"))],
            "publish-marts": ["--site", str(sandbox.new_path("site"))],
        }.get(job, [])
        for verb in ("run", "check"):
            for password in ("env://CANARY", sandbox.server.password_reference):
                output = run_with_sinks(
                    job,
                    [*job_options, "--warehouse", url, "--warehouse-password", password],
                    sandbox.new_path("sinks"),
                    verb=verb,
                    CANARY=TOKEN,
                )
                trials += 1
                if find_leaks(output.text, TOKEN) or find_leaks(output.text, sandbox.server.password):
                    violations.append(f"{job} {verb}: a password is in what it said")
    sandbox.drop_database(url)
    return trials, violations
