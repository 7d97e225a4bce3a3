"""What holds for all inputs of a kind: nothing forged, nothing confused, nothing kept that was not there."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modules.chat_server.journal.scan import scan
from potoserver.events import EventId, to_json
from potoserver.users import folder_name
from potoserver.web.body import parse_json
from potoserver.web.signing import SigningKey
from tests.fuzz.targets.dialogs import HEAD, MESSAGE, WHOLE

IDS = st.text(min_size=1, max_size=30)
JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("purpose", ["login", "ticket"])
def test_no_bit_of_a_cookie_or_ticket_can_be_changed(purpose: str) -> None:
    """Any single one makes it none: also one that base64 would pass over."""
    key = SigningKey(bytes(range(32)))
    token = key.sign(purpose, {"sub": "ann", "until_ms": None})
    assert key.verify(purpose, token) is not None
    for position in range(len(token)):
        for bit in range(8):
            changed = bytearray(token.encode())
            changed[position] ^= 1 << bit
            assert key.verify(purpose, changed.decode("utf-8", "surrogateescape")) is None
    for further in ("=", "==", ".", "\n", " ", "\0", "A"):
        assert key.verify(purpose, token + further) is None
        assert key.verify(purpose, further + token) is None


def test_more_of_a_file_never_keeps_less_of_it() -> None:
    """Cut anywhere, a dialog keeps a beginning of its messages, and each byte more keeps as many or more."""
    size = count = 0
    for cut in range(len(WHOLE) + 1):
        found = scan(WHOLE[:cut])
        messages = found.dialog.messages if found.dialog else ()
        assert found.size <= cut
        assert (found.size, len(messages)) >= (size, count)
        size, count = found.size, len(messages)
    assert (size, count) == (len(WHOLE), 2)
    assert scan(HEAD + MESSAGE).size == len(HEAD + MESSAGE)


@settings(max_examples=300)
@example("a", "A")
@example("%61", "a")
@example(".", "%2E")
@example("a.", "a%2E")
@example("\u00e9", "e\u0301")
@example("\u0130", "i\u0307")
@given(IDS, IDS)
def test_no_two_users_share_a_folder(first: str, second: str) -> None:
    """Also where the file system takes capitals for small letters."""
    try:
        names = folder_name(first).lower(), folder_name(second).lower()
    except ValueError:
        return
    assert (names[0] == names[1]) == (first == second)


@settings(max_examples=300)
@given(st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True), st.integers(0, 10**18 - 1))
def test_an_event_s_id_is_read_as_it_was_written(epoch: str, seq: int) -> None:
    """Whatever the epoch and the number."""
    assert EventId.parse(str(EventId(epoch, seq))) == EventId(epoch, seq)


@settings(max_examples=300)
@given(JSON_VALUES)
def test_a_body_says_what_was_put_in(value: object) -> None:
    """Any JSON value, written as our own answers are."""
    assert parse_json(to_json(value).encode()) == value
