"""What leaves a process holds no secret that it knows, however it is written, and no credential of a URL."""

from __future__ import annotations

import ast
import base64
import html
import io
import json
import logging
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import jobkit
import pytest
from jobkit import redaction
from jobkit.launchers import dagster, files, prefect, stepfunctions
from jobkit.redaction.echoes import CHUNK_BYTES
from jobkit.telemetry import openlineage, opentelemetry

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "tulip-4c/9A+horse&x y"
PLAIN = "Zq7fK2mNw9"
SHORT = "ab1c2"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobkit.redaction.known_secrets._encodings", ())
    monkeypatch.setattr("jobkit.redaction.known_secrets._sent_encodings", ())


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a path": quote,
    "in a form": quote_plus,
    "quoted twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "every character quoted": lambda secret: "".join(f"%{ord(letter):02x}" for letter in secret),
    "in JSON": json.dumps,
    "in JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "in JSON, escaped": lambda secret: "".join(f"\\u{ord(letter):04X}" for letter in secret),
    "in JSON with its slashes escaped": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "in Python": repr,
    "in Python's bytes": lambda secret: repr(secret.encode()),
    "in Python's bytes, escaped": lambda secret: "".join(f"\\x{ord(letter):02x}" for letter in secret),
    "in HTML": html.escape,
    "in HTML by numbers": lambda secret: "".join(f"&#{ord(letter)};" for letter in secret),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "as Basic authorization": lambda secret: base64.b64encode(f"somebody:{secret}".encode()).decode(),
    "behind another user": lambda secret: base64.b64encode(f"us:{secret}".encode()).decode(),
    "in base64 for URLs": lambda secret: base64.urlsafe_b64encode(f"u:{secret}".encode()).decode(),
    "in hex": lambda secret: secret.encode().hex(),
    "over two lines": lambda secret: f"{secret[:7]}\n  {secret[7:]}",
    "over two lines of JSON": lambda secret: json.dumps(f"{secret[:7]}\r\n{secret[7:]}"),
    "cut off": lambda secret: secret[:-2],
    "cut off in a URL": lambda secret: quote(secret, safe="")[:-2],
}


@pytest.mark.parametrize("secret", [SECRET, PLAIN])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_secret_is_masked_in_every_encoding(written: Callable[[str], str], secret: str) -> None:
    redaction.protect(secret)
    shown = redaction.redact(f"Invalid token: {written(secret)} (401)")
    assert redaction.MASK in shown
    assert shown.startswith("Invalid token: ")
    assert secret[:6].lower() not in shown.lower()
    assert written(secret)[:10] not in shown
    assert shown.endswith("(401)") or "401" in shown
    assert redaction.redact(shown) == shown


def test_a_text_without_a_secret_is_unchanged() -> None:
    redaction.protect(SECRET)
    for text in ("100%25 of a & b", "a\\nb &amp; c%20d", "tulip", "/lake/raw/x/year=2016/1.json", "a@b", "https://host:8080/x@2"):
        assert redaction.redact(text) == text


def test_a_short_secret_is_masked_as_a_whole_word() -> None:
    redaction.protect(SHORT)
    assert redaction.redact(f"token {SHORT}, x{SHORT}x") == f"token ***, x{SHORT}x"
    assert redaction.redact(f"token={SHORT.upper()}") == "token=***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://finelt:pw@h:5432/x", "postgresql://finelt:***@h:5432/x"),
        ("postgresql://finelt:p@w@h/x", "postgresql://finelt:***@h/x"),
        ("postgresql://finelt:p/w@h/x", "postgresql://finelt:***@h/x"),
        ("postgresql://finelt@h/x", "postgresql://finelt@h/x"),
        ("see https://token@host/x", "see https://***@host/x"),
        ("s3://AKIA:se/cret@bucket/x", "s3://***@bucket/x"),
        ("at 12-postgresql://finelt:p/w@h", "at 12-postgresql://***@h"),
        ("POSTGRESQL://finelt:p/w@h", "POSTGRESQL://finelt:***@h"),
        ("https://h/x?a=1&api_key=k&b=2", "https://h/x?a=1&api_key=***&b=2"),
        ("?APIKEY=k", "?APIKEY=***"),
        ("?access_token=k&sig=s;signature=t", "?access_token=***&sig=***;signature=***"),
        ("?X-Amz-Signature=k&X-Amz-Credential=c", "?X-Amz-Signature=***&X-Amz-Credential=***"),
        ("?sslpassword=k&options=-c%20x", "?sslpassword=***&options=***"),
        ("?p%61ssword=k", "?password=***"),
        ("to=https%3A%2F%2Fu%3Apw%40h", "to=https://***@h"),
        ("host=h password=pw dbname=x", "host=h password=*** dbname=x"),
        ("host=h password='p w' dbname=x", "host=h password=*** dbname=x"),
        ("Authorization: Basic dTpw", "Authorization: ***"),
        ("{'authorization': 'Bearer abc'}", "{'authorization': ***'}"),
    ],
)
def test_unknown_credentials_in_urls_are_masked(text: str, shown: str) -> None:
    assert redaction.redact(text) == shown


def test_redacted_json_is_valid_json() -> None:
    redaction.protect('quo"te\\d-secret')
    document = {"a": ['say quo"te\\d-secret'], 'quo"te\\d-secret': None, "n": 1, "path": Path("/x")}
    assert json.loads(redaction.to_json(document)) == {"a": ["say ***"], "***": None, "n": 1, "path": "/x"}
    assert redaction.clean({"n": [1, "b"]}) == {"n": [1, "b"]}


def test_a_stream_masks_a_secret_written_in_pieces() -> None:
    redaction.protect(PLAIN)
    below = io.StringIO()
    stream = redaction.RedactedStream(below)
    for piece in ("one ", PLAIN[:5], PLAIN[5:], "\ntwo ", PLAIN):
        stream.write(piece)
    assert below.getvalue() == "one ***\n"
    stream.flush()
    assert below.getvalue() == "one ***\ntwo ***"
    stream.buffer.write(b" " + PLAIN.encode() + b"\n")
    assert below.getvalue() == "one ***\ntwo *** ***\n"
    with pytest.raises(TypeError):
        stream.write(b"x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI", "wJalrXUtnFEMI"),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE12", "AKIAEXAMPLE12"),
        ("AWS_SESSION_TOKEN", "IQoJb3JpZ2lu", "IQoJb3JpZ2lu"),
        ("PREFECT_API_KEY", "pnu_1234567890", "pnu_1234567890"),
        ("PREFECT_API_AUTH_STRING", "admin:orange-mug", "orange-mug"),
        ("DBT_ENV_SECRET_GIT", "ghp_1234567890", "ghp_1234567890"),
        ("PGPASSWORD", "orange-mug", "orange-mug"),
        ("FINELT_TASK_TOKEN", "AAAAKgAAAAIA", "AAAAKgAAAAIA"),
        ("OPENLINEAGE_API_KEY", "orange-mug", "orange-mug"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=orange%2Dmug,a=b", "orange-mug"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer orange-mug", "orange-mug"),
        ("HTTPS_PROXY", "http://u:orange-mug@proxy:3128", "orange-mug"),
    ],
)
def test_credentials_of_the_environment_are_masked(name: str, value: str, secret: str) -> None:
    redaction.protect_environment({name: value})
    assert secret not in redaction.redact(f"it says {secret}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
        ("FINELT_TOKEN", "env://MARKET_TOKEN"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("PREFECT_API_URL", "http://prefect.example:4200/api"),
    ],
)
def test_the_place_of_a_secret_is_not_masked(name: str, value: str) -> None:
    redaction.protect_environment({name: value})
    assert redaction.redact(f"it says {value}") == f"it says {value}"


@pytest.mark.parametrize(
    "written",
    ["as it is", "in capitals", "in a URL", "in JSON", "in JSON, escaped", "in JSON with its slashes escaped", "in HTML", "in base64"],
)
@pytest.mark.parametrize("before", [0, CHUNK_BYTES - 9, 3 * CHUNK_BYTES + 1])
def test_an_echoed_secret_is_found_in_data_of_any_size(written: str, before: int) -> None:
    redaction.protect(SECRET, sent=True)
    assert redaction.holds_secret(b" " * before + WRITTEN[written](SECRET).encode() + b"\n")
    assert redaction.holds_secret(memoryview(b" " * before + WRITTEN[written](SECRET).encode()))
    assert not redaction.holds_secret(b" " * before + b"tulip & 100%25 \\n")


def test_data_is_searched_for_sent_secrets_only() -> None:
    redaction.protect(PLAIN)
    redaction.protect(SHORT, sent=True)
    assert not redaction.holds_secret(f"{PLAIN} {SHORT}".encode())


RECEIPT: dict[str, Any] = {
    "job": "j",
    "verb": "run",
    "version": "1",
    "run_id": "0" * 32,
    "status": "failed",
    "exit_code": 65,
    "error": f"no {PLAIN}",
    **dict.fromkeys(("rows", "bytes", "quarantined", "committed", "unchanged", "skipped", "failed", "elapsed_s", "cpu_s"), 0),
    "peak_rss_bytes": 0,
    "arguments": {"lake": "/l"},
    "details": {PLAIN: [PLAIN]},
    "started_at": "2026-01-02T03:04:05+00:00",
    "ended_at": "2026-01-02T03:04:06+00:00",
    "partitions": [{"dataset": "d", "partition": PLAIN, "rows": 0, "outcome": "failed"}],
}


def record(said: str) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "finelt", "levelno": 30, "levelname": "WARNING", "msg": "said %s", "args": (said,)})
    made.answer = said.upper()
    return made


def test_prefect_receives_no_secret() -> None:
    redaction.protect(PLAIN)
    sent: list[object] = []

    class Server:
        def call(self, _method: str, path: str, body: object = None, **_: object) -> dict[str, Any]:
            sent.append(body)
            run = {"id": "1", "name": "r", "parameters": {}, "state": {"type": "RUNNING"}}
            return {"status": "ACCEPT", "state": {"type": "FAILED"}} if path.endswith("/set_state") else run

    launcher = prefect.Prefect(Server(), "1")  # type: ignore[arg-type]
    launcher.log(record(f"{'x' * (prefect.MAX_TEXT_CHARS - 10)}{PLAIN}"))
    launcher.log(record(PLAIN))
    launcher.report_end(RECEIPT, 65, f"no {PLAIN}")
    assert len(sent) >= 5
    assert PLAIN[:8].lower() not in json.dumps(sent).lower()


def test_step_functions_receives_no_secret_but_its_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    redaction.protect(PLAIN)
    redaction.protect_environment({"FINELT_TASK_TOKEN": "AAAAtask-token"})
    sent: list[dict[str, str]] = []
    monkeypatch.setattr(stepfunctions.StepFunctions, "_call", lambda _self, _name, body: sent.append(body))
    launcher = stepfunctions.StepFunctions({"FINELT_TASK_TOKEN": "AAAAtask-token"})
    launcher.report_end(RECEIPT, 65, f"no {PLAIN}")
    launcher.report_end(RECEIPT, 0, "done")
    assert [body["taskToken"] for body in sent] == ["AAAAtask-token"] * 2
    assert PLAIN not in json.dumps(sent)


def test_dagster_files_lineage_and_traces_receive_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redaction.protect(PLAIN)
    sent: list[bytes] = []

    def urlopen(request: Any, **_: object) -> io.BytesIO:
        sent.append(request.data)
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    packed = base64.b64encode(zlib.compress(json.dumps({"path": str(tmp_path / "dagster")}).encode())).decode()
    launcher = dagster.Dagster({dagster.MESSAGES: packed, dagster.CONTEXT: packed})
    launcher.log(record(PLAIN))
    launcher.report_end(RECEIPT, 65, f"no {PLAIN}")
    monkeypatch.setattr(files, "XCOM", tmp_path)
    monkeypatch.setattr(files, "TERMINATION", tmp_path / "dagster")
    files.write({"FINELT_RECEIPT_FILE": str(tmp_path / "receipt"), "KUBERNETES_SERVICE_HOST": "h"}, RECEIPT, f"no {PLAIN}")
    declared = SimpleNamespace(name="j", hosts=(), reads=(), writes=())
    told = openlineage.Lineage({"OPENLINEAGE_URL": "http://h"}, declared, "0" * 32, "jobkit")  # type: ignore[arg-type]
    told.send_end(RECEIPT)
    opentelemetry.send_span({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"}, RECEIPT)
    written = [path.read_bytes() for path in tmp_path.iterdir()]
    assert (len(written), len(sent)) == (3, 2)
    assert all(PLAIN.encode() not in text and b"***" in text for text in [*written, *sent])


def test_all_output_of_jobkit_is_redacted() -> None:
    """Write with redaction.to_json or redaction.redact; json.dumps and print know no secret and so hide none."""
    other = {  # what is encoded here goes nowhere as it is: into a digest, or through Prefect's own class, which cleans it
        ("launchers/dagster.py", "json.dumps"): 1,
        ("prefect_api.py", "json.dumps"): 1,
        ("launchers/stepfunctions.py", "json.dumps"): 1,
        ("contracts/arrow.py", "json.dumps"): 2,  # rows and names as the vendor sent them, once refuse_echo has seen the response
        ("contracts/values.py", "json.dumps"): 1,
        ("commits.py", "json.dumps"): 2,
        ("paging.py", "json.dumps"): 1,  # the document of a request to the vendor
        ("commit_log.py", "json.dumps"): 1,  # a partition, a number and a random id
    }
    found: dict[tuple[str, str], int] = {}
    root = Path(jobkit.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            if name in ("json.dumps", "print") and path.parent.name != "redaction":
                key = (path.relative_to(root).as_posix(), name)
                found[key] = found.get(key, 0) + 1
    assert found == other
