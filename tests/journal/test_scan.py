"""What of a file holds: everything before the first message that is not whole."""

from __future__ import annotations

import time

import pytest
import yaml

from modules.chat_server.journal import Reason, dialog_yaml
from modules.chat_server.journal.dialog_yaml import (
    NotADialogError,
    emit_footer,
    emit_head,
    emit_message,
    load_yaml,
    parse_dialog,
)
from modules.chat_server.journal.layout import second_name
from modules.chat_server.journal.scan import read_end, scan
from potoserver import iso_utc

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
    assert (found.size, found.lacks_newline) == (len(first), False)
    assert found.why


@pytest.mark.parametrize(
    ("data", "torn", "why"),
    [
        (b"conversat", True, "the file is no mapping"),
        (emit_head(FIRST, "a1"), True, "it holds no message"),
        (b"- 1\n", False, "the file is no mapping"),
        (emit_head(FIRST, "a1") + b"- 1\n", True, "a message is no mapping"),
        (b"a: [", False, "ParserError"),
    ],
)
def test_what_holds_no_whole_message_is_told_with_the_reason(data: bytes, torn: bool, why: str) -> None:
    """And whether it is the beginning of one of ours."""
    found = scan(data)
    assert (found.dialog, found.size, found.torn) == (None, 0, torn)
    assert why in found.why


def test_a_head_that_is_wrong_is_told_with_the_reason() -> None:
    """However whole the messages behind it are."""
    data = emit_head(FIRST, "a1") + emit_message(message(0))
    found = scan(data.replace(b'started: "2024', b'started: "24'))
    assert found.dialog is None
    assert "`started` is no time" in found.why


def test_foreign_yaml_may_nest_eight_deep() -> None:
    """No deeper, however harmless each level is; many beside each other are none within."""
    for deep, beside in ((7, b""), (6, b"[], "), (6, b"[], " * 20)):
        opening, closing = b"[" * (deep - 1) + beside + b"[", b"]" * deep
        assert load_yaml(b"# mine\na: " + opening + closing + b"\n")
        with pytest.raises(NotADialogError, match="nests too deeply"):
            load_yaml(b"# mine\na: " + opening + b"[" * (8 - deep) + closing + b"]" * (8 - deep) + b"\n")


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_file_that_a_person_laid_out_is_kept_whole(newline: bytes) -> None:
    """With or without a newline at its end, as long as a message can be appended to it."""
    data = (
        f"# mine\nconversation: {FIRST.id}\nuser: 'a1'\nstarted: '{iso_utc(FIRST.started_ms)}'\nmessages:\n"
        f"- {{role: user, content: Hello, id: m-0, timestamp: '{iso_utc(FIRST.started_ms)}'}}"
    ).encode() + newline
    found = scan(data)
    assert found.dialog is not None
    assert [each.content for each in found.dialog.messages] == ["Hello"]
    assert (found.size, found.lacks_newline, found.why) == (len(data), not newline, "")


LAID_OUT = (
    f"# mine\nconversation: {FIRST.id}\nuser: 'a1'\nstarted: '{iso_utc(FIRST.started_ms)}'\nmessages:\n"
    f"- {{role: user, content: Hello, id: m-0, timestamp: '{iso_utc(FIRST.started_ms)}'}}\n"
).encode()


def test_a_text_that_keeps_its_last_newline_may_stand_at_the_end() -> None:
    """What is appended behind it adds none to it."""
    data = (
        f"# mine\nconversation: {FIRST.id}\nuser: a1\nstarted: '{iso_utc(FIRST.started_ms)}'\nmessages:\n"
        f"- role: user\n  id: m-0\n  timestamp: '{iso_utc(FIRST.started_ms)}'\n  content: |+\n    Hello\n"
    ).encode()
    found = scan(data)
    assert found.dialog is not None
    assert [each.content for each in found.dialog.messages] == ["Hello\n"]
    assert found.size == len(data)


@pytest.mark.parametrize("messages", [1, 2], ids=["first append", "second append"])
@pytest.mark.parametrize("torn", ["message", "footer"])
def test_a_torn_append_costs_a_file_that_a_person_laid_out_nothing(messages: int, torn: str) -> None:
    """Wherever it was cut short: what stood there before is a dialog still."""
    whole = LAID_OUT + (emit_message(message(1)) if messages == 2 else b"")
    appended = emit_message(message(2, "many\n- role: lines\nof text"))
    if torn == "footer":
        appended = emit_footer(FIRST.started_ms + 9, Reason.TIMEOUT, messages)
    for cut in range(1, len(appended) - 1):
        found = scan(whole + appended[:cut])
        assert found.dialog is not None, appended[:cut]
        assert (found.size, len(found.dialog.messages)) == (len(whole), messages), appended[:cut]
        assert found.why


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_dialog_that_has_no_room_for_a_message_more_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch, newline: bytes
) -> None:
    """With or without a newline at its end."""
    data = (emit_head(FIRST, "a1") + emit_message(message(0))).removesuffix(b"\n") + newline
    monkeypatch.setattr(dialog_yaml, "MAX_FILE_BYTES", len(data) + 1)
    found = scan(data)
    assert found.dialog is not None
    assert (found.size, found.lacks_newline) == (len(data), not newline)


def test_our_own_form_holds_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few of them nest; the lines of a text are none."""
    monkeypatch.setattr(dialog_yaml, "MAX_VALUES", 20)
    head, text = emit_head(FIRST, "a1"), "many\n" * 50 + "lines"
    assert load_yaml(head + emit_message(message(0, text, model="m", finish_reason="stop")))
    with pytest.raises(NotADialogError, match="too many values"):
        load_yaml(head + emit_message(message(0, text, model="m", finish_reason="stop", reasoning="r")))


def test_foreign_yaml_is_read_in_c_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python a file of some megabytes would take minutes."""
    monkeypatch.setattr(yaml.reader.Reader, "__init__", None)
    assert load_yaml(b"# mine\na: b\n") == {"a": "b"}


def test_foreign_yaml_holds_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key, value, list and mapping is one; and a number has no more digits than any that is meant."""
    monkeypatch.setattr(dialog_yaml, "MAX_VALUES", 5)
    assert load_yaml(b"# mine\na: [1, 1.5]\n") == {"a": [1, 1.5]}
    with pytest.raises(NotADialogError, match="too many values"):
        load_yaml(b"# mine\na: [1, 1.5, 2]\n")
    assert load_yaml(b"# mine\na: " + b"1" * 20) == {"a": int("1" * 20)}
    with pytest.raises(NotADialogError, match="too many digits"):
        load_yaml(b"# mine\na: " + b"1" * 21)


@pytest.mark.parametrize(
    "lines", [[0], [1], [2], [0, 1], [0, 2], [1, 2]], ids=lambda lines: "".join(map(str, lines))
)
def test_a_part_of_a_footer_is_none(lines: list[int]) -> None:
    """The end, the reason and the count stand there together, or the file is damaged."""
    footer = emit_footer(FIRST.started_ms, Reason.TIMEOUT, 1).splitlines(keepends=True)
    dialog = emit_head(FIRST, "a1") + emit_message(message(0))
    assert parse_dialog(dialog + b"".join(footer)).reason is Reason.TIMEOUT
    with pytest.raises(NotADialogError):
        parse_dialog(dialog + b"".join(footer[line] for line in lines))


@pytest.mark.parametrize(("count", "is_one"), [("0", True), ("-1", False), ("true", False), ("1.0", False)])
def test_a_count_of_messages_is_a_whole_number_from_nought_on(count: str, is_one: bool) -> None:
    """A person may have taken all of them out."""
    end = emit_footer(FIRST.started_ms, Reason.TIMEOUT, 1).replace(b"count: 1", f"count: {count}".encode())
    if is_one:
        assert read_end(b"\n" + end) == (FIRST.started_ms, Reason.TIMEOUT, int(count))
    else:
        with pytest.raises(NotADialogError, match="`message_count` is no count"):
            read_end(b"\n" + end)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_times_are_of_utc_wherever_the_server_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In files and in their names; a time without its milliseconds or its zone is none."""
    data = emit_head(FIRST, "a1") + emit_message(message(0))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert second_name(1_705_313_523_120) == "2024-01-15-10-12-03"
        assert parse_dialog(data).messages == (message(0),)
        for cut in (b".120", b"Z", b".120Z"):
            with pytest.raises(NotADialogError, match="is no time"):
                parse_dialog(data.replace(b".120Z", b".120Z".replace(cut, b"")))
    finally:
        monkeypatch.undo()
        time.tzset()
