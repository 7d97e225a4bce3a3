"""Archives from elsewhere: what an import takes is a dialog that every reader reads back as it was sent."""

from __future__ import annotations

import json

from modules.chat_server.importing.reading import read_archives, read_list
from modules.chat_server.journal.archive_import import file_of
from modules.chat_server.journal.dialog_yaml import parse_dialog
from modules.chat_server.journal.layout import archive_order, second_name
from modules.chat_server.journal.scan import (
    HEAD_BYTES,
    TAIL_BYTES,
    NotADialogError,
    summarize,
    summarize_dialog,
)
from modules.chat_server.module import ChatServerModule
from potoserver.errors import ProblemError
from potoserver.module.rpc import rpc_methods
from potoserver.web.body import Body, parse_json, validate_body
from tests.fuzz.target import Target

MODEL = rpc_methods(ChatServerModule())["importArchives"].arguments
NOW_MS = 1_705_400_000_000

_MESSAGE = {
    "id": "m-0",
    "role": "user",
    "content": "Hello\nthere",
    "timestamp": "2024-01-15T10:12:04.001Z",
    "model": None,
    "reasoning": "because",
    "finishReason": "stop",
    "interrupted": True,
    "replyTo": "m-1",
}
_ARCHIVE = {
    "id": "2024-01-15-10-30-00-2",
    "conversationId": "sse-1705313523120-aaaaaaaaa",
    "title": "Trees 🌳",
    "pinned": True,
    "startedAt": "2024-01-15T10:12:03.1Z",
    "endedAt": "2024-01-15T10:30:00Z",
    "reason": "timeout",
    "messages": [_MESSAGE, _MESSAGE | {"id": "m-1", "role": "assistant"}],
}

_PART = {"type": "text", "text": "piece"}
_LISTED = [
    {"role": "user", "content": "x"},
    {"role": "system", "content": None},
    {"role": "assistant", "content": [_PART, _PART], "refusal": None},
]


def check_import(data: bytes) -> None:
    """It is refused by field, or each archive is written, read back the same, and summed up the same."""
    try:
        given = validate_body(MODEL, Body(data, parse_json(data)))
        archives, messages, title = (getattr(given, name) for name in ("p0", "p1", "p2"))
        dialogs = read_archives("a1", archives, NOW_MS) if archives else []
        dialogs += read_list("a1", messages, title, NOW_MS) if messages else []
    except ProblemError as error:
        assert error.status in (400, 422)
        assert error.status == 400 or error.errors
        return
    for each in dialogs:
        written = file_of(each)
        dialog = parse_dialog(written)
        assert dialog == each.dialog
        assert dialog.ended_ms is not None
        assert archive_order(second_name(dialog.ended_ms)) is not None
        try:
            summary = summarize("x", written[:HEAD_BYTES], written[-TAIL_BYTES:])
        except NotADialogError:
            continue
        assert summary == summarize_dialog("x", dialog)


TARGETS = (
    Target(
        "import",
        check_import,
        (
            b"{}",
            json.dumps({"archives": [_ARCHIVE]}).encode(),
            json.dumps({"archives": [_ARCHIVE, _ARCHIVE | {"title": None, "reason": "request"}]}).encode(),
            json.dumps({"archives": [_ARCHIVE | {"startedAt": "2024-02-31T00:00:00Z"}]}).encode(),
            json.dumps({"archives": [_ARCHIVE | {"conversationId": "../x", "title": "a\nb"}]}).encode(),
            json.dumps({"messages": _LISTED, "title": " "}).encode(),
            json.dumps(
                {"messages": [{"role": "assistant", "content": [_PART | {"text": "\ud800"}]}]}
            ).encode(),
            b'{"archives": [{"messages": [{"content": ' + b"9" * 400 + b"}]}]}",
            b'{"archives": ' + b"[" * 70 + b"]" * 70 + b"}",
        ),
    ),
)
