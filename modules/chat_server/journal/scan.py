"""What of a dialog's file holds: the whole of it, its whole messages, or its head and tail alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .dialog_yaml import (
    NotADialogError,
    emit_message,
    load_yaml,
    parse_dialog,
    read_footer,
    read_head,
    read_message,
)
from .first_words import first_words_in
from .records import ArchiveSummary, Dialog, Message, Reason
from .titles import first_words

HEAD_BYTES: Final = 4096
TAIL_BYTES: Final = 1024

# A quoted scalar stands on one line and a literal block is indented by four, so no text can look like these.
_HEAD: Final = re.compile(
    rb"conversation: [^\n]*\nuser: [^\n]*\nstarted: [^\n]*\n"
    rb"(?:title: [^\n]*\n)?(?:pinned: [^\n]*\n)?messages:\n"
)
_LAST_LINE: Final = re.compile(rb"^  timestamp: \"[^\"\n]*\"(?:\n|\Z)", re.MULTILINE)
_CUT_COUNT: Final = re.compile(rb"\nmessage_count: (\d+)\Z")
_HEAD_BEGINS: Final = b"conversation: "

_PROBE: Final = Message(role="user", content="", id="m-", timestamp_ms=0)


@dataclass(frozen=True, slots=True)
class Scan:
    """What of a file's bytes can be kept.

    Attributes:
        dialog: What they hold; None where there is not one whole message.
        size: How many bytes are to be kept; what follows is torn.
        lacks_newline: A newline must be added before anything is appended.
        torn: Without a dialog: the beginning of one of ours, rather than something else.
        why: What is wrong; empty when all of it holds.
    """

    dialog: Dialog | None
    size: int
    lacks_newline: bool = False
    torn: bool = False
    why: str = ""


def scan(data: bytes) -> Scan:
    """Finds the longest beginning that is a dialog to which can be appended, or that has its footer."""
    try:
        dialog = parse_dialog(data)
        _check_growing(data, dialog)
    except NotADialogError as error:
        return _scan_messages(data, str(error))
    return Scan(dialog, len(data), lacks_newline=not data.endswith(b"\n"))


def _check_growing(data: bytes, dialog: Dialog) -> None:
    if not dialog.messages:
        raise NotADialogError("it holds no message")
    if dialog.ended_ms is not None:
        cut = _CUT_COUNT.search(data)
        if cut and int(cut[1]) != len(dialog.messages):
            raise NotADialogError("its footer is torn")
        return
    # A person's editor may have laid the file out in a way to which this format can't be appended.
    newline = b"" if data.endswith(b"\n") else b"\n"
    grown = parse_dialog(data + newline + emit_message(_PROBE))
    if grown.messages != (*dialog.messages, _PROBE):
        raise NotADialogError("nothing can be appended to it")


def _scan_messages(data: bytes, why: str) -> Scan:
    head = _HEAD.match(data)
    size = begin = head.end() if head else 0
    if head:
        for line in _LAST_LINE.finditer(data, begin):
            if not _is_message(data[size : line.end()]):
                break
            size = line.end()
    if size > begin:
        try:
            dialog = parse_dialog(data[:size])
        except NotADialogError as error:
            why = str(error)
        else:
            return Scan(dialog, size, lacks_newline=not data[:size].endswith(b"\n"), why=why)
    if size == begin:
        for size in _where_torn(data):
            try:
                dialog = parse_dialog(data[:size])
                _check_growing(data[:size], dialog)
            except NotADialogError:
                continue
            return Scan(dialog, size, why=why)
    return Scan(None, 0, torn=_HEAD_BEGINS.startswith(data[: len(_HEAD_BEGINS)]), why=why)


def _where_torn(data: bytes) -> list[int]:
    """Where in a file that a person has laid out an append may have been cut short, the latest first.

    It begins a line of its own: a message, the footer, or too little of either to tell.
    """
    begins = (b"\n", b"\n- role: ", b"\nended: ")
    return sorted({data.rfind(begin) + 1 for begin in begins} - {0, len(data)}, reverse=True)


def _is_message(part: bytes) -> bool:
    try:
        items = load_yaml(part)
        if not isinstance(items, list) or len(items) != 1:
            return False
        read_message(items[0])
    except NotADialogError:
        return False
    return True


def summarize(archive_id: str, head: bytes, tail: bytes) -> ArchiveSummary:
    """Reads an archive's summary from its first `HEAD_BYTES` and last `TAIL_BYTES`.

    Raises:
        NotADialogError: They are not as this format has them, or don't tell the first words.
    """
    begin = _HEAD.match(head)
    if not begin:
        raise NotADialogError("its head is not as it was written")
    first = load_yaml(head[: begin.end()])
    if not isinstance(first, dict):
        raise NotADialogError("its head is no mapping")
    marks = read_head(first)
    ended_ms, reason, count = read_end(tail)
    return ArchiveSummary(
        archive_id,
        marks.conversation,
        ended_ms,
        reason,
        count,
        first_words_in(head[begin.end() :]),
        marks.title,
        marks.pinned,
    )


def read_end(tail: bytes) -> tuple[int, Reason, int]:
    """When a dialog ended, why, and how many messages it holds, from its last `TAIL_BYTES`.

    Raises:
        NotADialogError: They are not as this format has them.
    """
    end = tail.rfind(b"\nended: ")
    if end < 0:
        raise NotADialogError("its tail is not as it was written")
    last = load_yaml(tail[end + 1 :])
    if not isinstance(last, dict):
        raise NotADialogError("its tail is no mapping")
    return read_footer(last)


def summarize_dialog(archive_id: str, dialog: Dialog) -> ArchiveSummary:
    """The same from a whole dialog.

    Raises:
        NotADialogError: It has no footer.
    """
    if dialog.ended_ms is None or dialog.reason is None:
        raise NotADialogError("it has no footer")
    return ArchiveSummary(
        archive_id,
        dialog.conversation,
        dialog.ended_ms,
        dialog.reason,
        len(dialog.messages),
        first_words(dialog.messages),
        dialog.title,
        dialog.pinned,
    )
