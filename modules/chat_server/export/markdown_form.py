"""Archives as Markdown, for people to read."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from potoserver import iso_utc

from ..journal.records import Dialog, Message
from ..journal.titles import title_of
from .form import ExportForm

_FENCES = ("`", "~")
_LEAST_FENCE = 3
_MOST_INDENT = 3


class MarkdownForm(ExportForm):
    """A heading for each dialog and for each message; what was written stands below it as it is."""

    content_type = "text/markdown; charset=utf-8"
    suffix = "md"

    @override
    def begin(self, user_id: str) -> bytes:
        return f"# Dialogs of {' '.join(user_id.split())}\n".encode()

    @override
    def add(self, archive_id: str, data: bytes, dialog: Dialog) -> bytes:
        ended = "" if dialog.ended_ms is None else f" to {_time(dialog.ended_ms)}"
        facts = [f"{_time(dialog.conversation.started_ms)}{ended} UTC"]
        if dialog.reason is not None:
            facts.append(f"ended by {dialog.reason.value}")
        if dialog.pinned:
            facts.append("pinned")
        facts.append(f"archive `{archive_id}`")
        parts = [f"\n## {title_of(dialog)}\n\n{', '.join(facts)}\n", *map(_message, dialog.messages)]
        return "".join(parts).encode()

    @override
    def end(self, skipped: Sequence[str]) -> bytes:
        if not skipped:
            return b""
        return f"\n## Not in this file\n\nThese archives can't be read: {', '.join(skipped)}\n".encode()


def _message(message: Message) -> str:
    model = f" ({message.model})" if message.model else ""
    cut = ", interrupted" if message.interrupted else ""
    heading = f"\n### {message.role.capitalize()}{model}, {_time(message.timestamp_ms)}{cut}\n"
    fence = _open_fence(message.content)
    closed = f"\n{fence}" if fence else ""
    return f"{heading}\n{message.content}{closed}\n"


def _open_fence(text: str) -> str:
    """The fence that a code block of the text has and lacks an end for; all behind it would be code, too."""
    fence = ""
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        mark = bare[:1]
        if len(line) - len(bare) > _MOST_INDENT or mark not in _FENCES:
            continue
        rest = bare.lstrip(mark)
        length = len(bare) - len(rest)
        if fence:
            if mark == fence[0] and length >= len(fence) and not rest.strip():
                fence = ""
        elif length >= _LEAST_FENCE and not (mark == "`" and "`" in rest):
            fence = mark * length
    return fence


def _time(at_ms: int) -> str:
    return iso_utc(at_ms)[:19].replace("T", " ")
