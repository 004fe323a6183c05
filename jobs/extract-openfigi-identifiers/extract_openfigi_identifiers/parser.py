"""Parse OpenFIGI's answers: one row per match, in the order of the answer; of a question without a match, one row with what OpenFIGI says.

All matches are kept: one ISIN has up to hundreds, a line for each venue and currency. Which of them is meant is not for this job to choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import lossless_json
from jobkit.errors import BadDataError

from extract_openfigi_identifiers.source import ALL, to_partition

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

NAMES = ("id_type", "id_value", "exch_code", "result", "figi")


def parse(body: bytes, request: Request) -> dict[str, Columns | BadDataError]:
    """Return the columns of each question of the request that was asked; the result of a match is its FIGI.

    A question that OpenFIGI refuses has a BadDataError (exit code 65) in their place. Raises BadDataError for another document.
    """
    document = lossless_json.decode(body, "OpenFIGI's answer")
    asked, answers = document if isinstance(document, list) and len(document) == 2 else (None, None)  # noqa: PLR2004
    if not isinstance(asked, list) or not isinstance(answers, list) or len(asked) != len(answers):
        raise BadDataError(f"OpenFIGI's answer is no list with one answer for each question; it begins {body[-200:][:60]!r}")
    found = {to_partition(question): _read(question, answer) for question, answer in zip(asked, answers, strict=True)}
    return {name: columns for name, columns in found.items() if name in request.partitions}


def _read(question: dict[str, str], answer: Any) -> Columns | BadDataError:  # noqa: ANN401  JSON
    """Return the columns of one question, or the error that OpenFIGI has for it alone."""
    words = answer if isinstance(answer, dict) else {}
    row = {"id_type": question["idType"], "id_value": question["idValue"], "exch_code": question.get("exchCode", ALL)}
    matches = words.get("data")
    if isinstance(matches, list) and matches and all(isinstance(match, dict) for match in matches):
        rows = [{**match, **row, "result": match.get("figi")} for match in matches]  # the question stays as it was asked
        return lossless_json.build_columns(rows, NAMES)
    if isinstance(words.get("warning"), str):
        return lossless_json.build_columns([{**row, "result": words["warning"]}], NAMES)
    return BadDataError(f"OpenFIGI refuses {' '.join(question.values())}: {str(words.get('error', answer))[:200]}; correct --identifiers")
