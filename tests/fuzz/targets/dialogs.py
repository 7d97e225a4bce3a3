"""Dialogs on disk: what recovery finds after a crash, what a person has edited, what was torn."""

from __future__ import annotations

from modules.chat_server.journal import Conversation, Dialog, Message, Reason
from modules.chat_server.journal.dialog_yaml import (
    NotADialogError,
    emit_footer,
    emit_head,
    emit_message,
    parse_dialog,
)
from modules.chat_server.journal.references import key_line, lines_in
from modules.chat_server.journal.scan import HEAD_BYTES, TAIL_BYTES, scan, summarize, summarize_dialog
from tests.fuzz.target import Target, fields

_FIRST = Conversation("sse-1705313523120-abc123def", 1_705_313_523_120)
HEAD = emit_head(_FIRST, "a1")
MESSAGE = emit_message(Message("user", "Hello!", "m-1", 1_705_313_524_000, idempotency_key="k"))
_REPLY = emit_message(
    Message("assistant", "Hello!\nWhat can I do?", "m-2", 1_705_313_525_000, model="x", reply_to="m-1")
)
_FOOTER = emit_footer(1_705_313_526_000, Reason.DISCONNECT, 2)
WHOLE = HEAD + MESSAGE + _REPLY + _FOOTER


def check_scan(data: bytes) -> None:
    """What is kept is a beginning of what was there, is a dialog by itself, and is found again."""
    found = scan(data)
    assert 0 <= found.size <= len(data)
    assert bool(found.why) == (found.size < len(data) or found.dialog is None)
    if found.dialog is None:
        assert found.size == 0
        return
    kept = data[: found.size] + b"\n" * found.lacks_newline
    assert parse_dialog(kept) == found.dialog
    again = scan(kept)
    assert (again.dialog, again.size, again.lacks_newline, again.why) == (found.dialog, len(kept), False, "")
    if found.dialog.ended_ms is None:
        # It goes on where it stopped.
        grown = scan(kept + MESSAGE)
        assert grown.dialog is not None
        assert grown.dialog.messages[:-1] == found.dialog.messages
        if _as_written(found.dialog) == kept:
            assert scan(kept + MESSAGE + MESSAGE[: len(MESSAGE) // 2]).dialog == grown.dialog
    else:
        assert summarize_dialog("x", found.dialog).message_count == len(found.dialog.messages)


def _as_written(dialog: Dialog) -> bytes:
    return emit_head(dialog.conversation, dialog.user_id) + b"".join(map(emit_message, dialog.messages))


def check_text(data: bytes) -> None:
    """Any text that JSON can carry is read back as it was, wherever the file is cut behind it."""
    content, reasoning, key = (part.decode("utf-8", "replace") for part in fields(data, 3))
    message = Message(
        role="user",
        content=content,
        id="m-9",
        timestamp_ms=1_705_313_524_000,
        reasoning=reasoning or None,
        idempotency_key=key or None,
        interrupted=bool(reasoning),
    )
    written = emit_message(message)
    start = HEAD + MESSAGE
    grown = start + written
    assert parse_dialog(grown).messages[-1] == message
    for cut in {len(written) // 3, len(written) - 2, len(written) // 2}:
        torn = scan(start + written[:cut])
        assert torn.size == len(start)
        assert torn.dialog is not None
        assert len(torn.dialog.messages) == 1
    whole = grown + emit_footer(1_705_313_526_000, Reason.TIMEOUT, 2)
    summary = summarize("x", whole[:HEAD_BYTES], whole[-TAIL_BYTES:])
    assert summary == summarize_dialog("x", parse_dialog(whole))
    if key:
        assert key_line(key) in lines_in(whole)


def check_summary(data: bytes) -> None:
    """From head and tail alone an archive's summary is that of the whole file, or there is none."""
    try:
        quick = summarize("x", data[:HEAD_BYTES], data[-TAIL_BYTES:])
    except NotADialogError:
        return
    assert quick.message_count >= 0
    assert quick.id == "x"


TARGETS = (
    Target(
        "scan",
        check_scan,
        (
            b"",
            HEAD,
            HEAD + MESSAGE,
            HEAD + MESSAGE + _REPLY,
            WHOLE,
            WHOLE[:-1],
            WHOLE[:-2],
            WHOLE[: -len(_FOOTER) + 5],
            HEAD + MESSAGE + _REPLY[:40],
            WHOLE.replace(b'"', b"'"),
            WHOLE.replace(b"\n", b"\r\n"),
            b"\xef\xbb\xbf" + WHOLE,
            b"# mine\n" + WHOLE,
            WHOLE + b"---\n" + WHOLE,
            HEAD + MESSAGE + b"extra: 1\n",
            HEAD + b"- {role: user, content: a, id: m, timestamp: '2024-01-15T10:12:04.001Z'}\n",
            HEAD + b"- &a\n  role: user\n- *a\n",
            b"conversation: !!binary aGk=\n",
            HEAD.replace(b"messages:\n", b"messages: []\n"),
            b"\0" * 100,
            HEAD + MESSAGE + b"\0" * 100,
            HEAD + MESSAGE.replace(b"2024-01-15", b"9999-99-99"),
            HEAD + MESSAGE + b'ended: "2024-01-15T10:30:00.000Z"\nreason: "disconnect"\nmessage_count: 1',
        ),
    ),
    Target(
        "dialog-text",
        check_text,
        (
            b"Hello!",
            b"a\nb\0think\0key",
            " a\u2028b\x85 \ufeff\U0001f600\ue000".encode(),
            b'- role: "user"\n  timestamp: "2024-01-15T10:12:04.001Z"\n',
            b"\x00\x00",
            b'a: b\n---\n...\n\0#\0"\\',
        ),
    ),
    Target(
        "summary", check_summary, (WHOLE, WHOLE.replace(b"message_count: 2", b"message_count: 0x10"), HEAD)
    ),
)
