"""Any text can be escaped, stored and restored."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from jobkit.contracts import escape_text, unescape_text

HOSTILE = st.text(st.characters(codec=None) | st.sampled_from(["\0", "\ud83d", "\udce9", "\\", "u", "0"]), max_size=30)


@given(HOSTILE)
@example("\\u0000\0\\\0\\\\u005c\ud83d\\ud83d")
def test_an_escaped_text_can_be_stored_and_restored(value: str) -> None:
    assert unescape_text(escape_text(value)) == value
    escape_text(value).encode()
    assert "\0" not in escape_text(value)
