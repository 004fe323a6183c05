"""JSON text: digits and surrogates stay, a key that comes twice is refused with its path."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobkit import lossless_json
from jobkit.errors import BadDataError

KEYS = st.sampled_from(["a", "b", "a.b", 'a":', "é", "\u2028", "a:b", "", "\\", "0"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8), st.sampled_from(['":', "{", "x:y", "\\u003a"])
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=25
)


class Row(msgspec.Struct):
    a: str


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a" : 1 ,\n "b":2,"a"\t:3}', "a"),
        (b'{"facts":{"us-gaap":{"Assets":{"units":{"USD":[{"val":1},{"val":1,"val":2}]}}}}}', r"facts.us-gaap.Assets.units.USD\[1\].val"),
        (b'{"facts":{"us-gaap":{},"dei":{},"us-gaap":{"A":1}}}', "facts.us-gaap"),
        (b'[[1,2],[{"x":{"b":"","b":""}}]]', r"\[1\]\[0\].x.b"),
        (b'{"\\u0061":1,"a":2}', "a"),
        (b'{"a":1,"b":":","a":2}', "a"),
        (b'{"x":"\\u003a\\u003A","a":1,"a":2}', "a"),
        (b'{"a":"\\ud83d","a":2}', "a"),
        (b'{"a":{"b":":::"},"a":{"c":1}}', "a"),
    ],
)
def test_a_repeated_key_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(BadDataError, match=f"^the answer has the key {path} twice; expected each key once"):
        lossless_json.decode(body, "the answer")


@settings(max_examples=300, deadline=None)
@given(document=DOCUMENTS, escape_text=st.booleans(), indent=st.integers(0, 4))
def test_any_document_is_decoded_and_refused_with_a_repeated_key(document: Any, *, escape_text: bool, indent: int) -> None:
    body = json.dumps(document, ensure_ascii=escape_text, indent=indent or None, separators=(",", " : " if indent % 2 else ":")).encode()
    assert lossless_json.decode(body, "x") == document
    doubled = b'{"k":%s,"j":1,"k":%s}' % (body, body)
    with pytest.raises(BadDataError, match="key k twice"):
        lossless_json.decode(doubled, "x")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'["\\ud83d"]', "\ud83d"),
        (b'["\\uDE00x"]', "\ude00x"),
        (b'["\\ud83d\\ud83d\\ude00"]', "\ud83d\U0001f600"),
        (b'["\\ude00\\ud83d"]', "\ude00\ud83d"),
        (b'["\\\\ud83d"]', "\\ud83d"),
        (b'["\\\\\\ud83d"]', "\\\ud83d"),
        ('["\\ud83d\ue000"]'.encode(), "\ud83d\ue000"),
        (b'["\\ud83d\\uE000"]', "\ud83d\ue000"),
        (b'["\\u0000\\ud83d"]', "\0\ud83d"),
        (b'["\\u0000"]', "\0"),
    ],
)
def test_text_that_utf8_cannot_encode_is_decoded(body: bytes, text: str) -> None:
    assert lossless_json.decode(body, "x") == [text]


def test_surrogates_are_restored_in_keys_and_types() -> None:
    assert lossless_json.decode(b'{"\\ud83d":{"b":["\\ude00"]}}', "x") == {"\ud83d": {"b": ["\ude00"]}}
    assert lossless_json.decode(b'[{"a":"\\ud83d"}]', "x", list[Row]) == [Row("\ud83d")]


@pytest.mark.parametrize("body", [b"", b"[1,]", b"[NaN]", b'{"a":1', b'["\\ud8"]', b'["\xed\xa0\xbd"]', b"[" * 100_000, b'["\\ud83d"'])
def test_invalid_json_is_bad_data(body: bytes) -> None:
    with pytest.raises(BadDataError, match="^x is not JSON: "):
        lossless_json.decode(body, "x")


def test_the_beginning_of_a_document_is_not_closed() -> None:
    whole = json.dumps([{"a": "]}", "b": [1.5, {}]}, {"c": None, "d": '"}]'}]).encode()
    assert lossless_json.is_closed(whole + b"\n")
    assert not any(lossless_json.is_closed(whole[:end]) for end in range(len(whole)))


def test_one_thread_at_a_time_builds_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Msgspec 0.22.0 builds what it knows of a Struct with its first decoder, and not safely in two threads."""
    building = threading.Lock()

    def decoder(*_: Any, **__: Any) -> Any:
        assert building.acquire(blocking=False), "two threads build a decoder at once"
        try:
            assert lossless_json._BUILDING.locked()  # so no other thread gets here, however slow this one is
            return built
        finally:
            building.release()

    built = msgspec.json.Decoder(Row)
    monkeypatch.setattr(msgspec.json, "Decoder", decoder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: lossless_json.decode(b'{"a": "b"}', "it", Row), range(16)))
    assert found == [Row("b")] * 16
