"""Archives as JSON, one a line, so that tools for lines can read them too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from potoserver import iso_utc

from ..journal.records import Dialog
from ..wire import MessageView
from .form import ExportForm

VERSION = 1
"""Of the form; it is what `potoserver` says in the file."""


class JsonForm(ExportForm):
    """`{"potoserver": 1, "user": …, "archives": [` an archive a line `]}`, which `importArchives` reads."""

    content_type = "application/json"
    suffix = "json"

    def __init__(self) -> None:
        self._is_first = True

    @override
    def begin(self, user_id: str) -> bytes:
        return f'{{"potoserver":{VERSION},"user":{_json(user_id)},"archives":['.encode()

    @override
    def add(self, archive_id: str, data: bytes, dialog: Dialog) -> bytes:
        head = {
            "id": archive_id,
            "conversationId": dialog.conversation.id,
            "title": dialog.title,
            "pinned": dialog.pinned,
            "startedAt": iso_utc(dialog.conversation.started_ms),
            "endedAt": None if dialog.ended_ms is None else iso_utc(dialog.ended_ms),
            "reason": None if dialog.reason is None else dialog.reason.value,
        }
        messages = ",".join(MessageView.of(each).model_dump_json(by_alias=True) for each in dialog.messages)
        before = "\n" if self._is_first else ",\n"
        self._is_first = False
        return f'{before}{_json(head)[:-1]},"messages":[{messages}]}}'.encode()

    @override
    def end(self, skipped: Sequence[str]) -> bytes:
        told = f',"skipped":{_json(skipped)}' if skipped else ""
        return f"\n]{told}}}\n".encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
