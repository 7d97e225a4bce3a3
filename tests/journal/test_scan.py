"""What of a file holds: everything before the first message that is not whole."""

from __future__ import annotations

import pytest

from modules.chat_server.journal.dialog_yaml import NotADialogError, emit_head, emit_message, load_yaml
from modules.chat_server.journal.scan import scan

from .support import FIRST, message


@pytest.mark.parametrize(
    "damage",
    [
        (b'  id: "m-1"\n', b""),
        (b'role: "assistant"', b"role: [assistant]"),
        (b'  content: "text 1"\n', b'  content: "text 1\n'),
        (b'- role: "assistant"', b'- role: "assistant"\n- role: "assistant"'),
        (b'- role: "assistant"', b'role: "assistant"'),
    ],
)
def test_a_damaged_message_keeps_what_is_whole_before_it(damage: tuple[bytes, bytes]) -> None:
    """However it is damaged; the whole ones behind it go with it."""
    first = emit_head(FIRST, "a1") + emit_message(message(0))
    data = first + emit_message(message(1)) + emit_message(message(2))
    assert damage[0] in data
    found = scan(data.replace(*damage))
    assert found.dialog is not None
    assert found.dialog.messages == (message(0),)
    assert found.size == len(first)
    assert found.why


@pytest.mark.parametrize(
    ("data", "torn", "why"),
    [
        (b"conversat", True, "the file is no mapping"),
        (emit_head(FIRST, "a1"), True, "it holds no message"),
        (b"- 1\n", False, "the file is no mapping"),
        (b"a: [", False, "ParserError"),
    ],
)
def test_what_holds_no_whole_message_is_told_with_the_reason(data: bytes, torn: bool, why: str) -> None:
    """And whether it is the beginning of one of ours."""
    found = scan(data)
    assert (found.dialog, found.torn) == (None, torn)
    assert why in found.why


def test_a_head_that_is_wrong_is_told_with_the_reason() -> None:
    """However whole the messages behind it are."""
    data = emit_head(FIRST, "a1") + emit_message(message(0))
    found = scan(data.replace(b'started: "2024', b'started: "24'))
    assert found.dialog is None
    assert "`started` is no time" in found.why


def test_foreign_yaml_may_nest_eight_deep() -> None:
    """No deeper, though each level for itself is harmless."""
    assert load_yaml(b"a: " + b"[" * 7 + b"]" * 7 + b"\n")
    with pytest.raises(NotADialogError, match="nests too deeply"):
        load_yaml(b"a: " + b"[" * 8 + b"]" * 8 + b"\n")
    assert load_yaml(b"a: " + b"[[], [], [], [], [], [], [], [], []]\n"), (
        "many beside each other are none within"
    )
