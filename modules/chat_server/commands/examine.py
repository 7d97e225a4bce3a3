"""Whether what stands in one dialog's file holds together. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from potoserver import iso_utc

from ..journal.dialog_yaml import MAX_FILE_BYTES, NotADialogError, load_yaml, parse_dialog, read_footer
from ..journal.layout import second_name
from ..journal.records import Dialog
from ..journal.scan import TAIL_BYTES, read_end, scan
from .findings import Kind

Fault = tuple[Kind, str]

_ENDS_MESSAGE: Final = re.compile(rb"^  timestamp: \"", re.MULTILINE)


def read_archive(data: bytes) -> tuple[Dialog | None, Fault | None]:
    """What an archive's bytes hold, or what keeps them from being one."""
    try:
        dialog = parse_dialog(data)
    except NotADialogError as error:
        return None, _unusable(data, str(error))
    if dialog.ended_ms is None:
        return None, (Kind.TORN, "its footer is missing")
    return dialog, None


def _unusable(data: bytes, why: str) -> Fault:
    if not data:
        return Kind.NO_DIALOG, "it is empty"
    if len(data) > MAX_FILE_BYTES:
        return Kind.NO_DIALOG, "it is larger than any dialog"
    result = scan(data)
    if result.dialog is None:
        return (Kind.TORN if result.torn else Kind.NO_DIALOG), why
    rest = len(data) - result.size
    return (
        Kind.TORN,
        f"{len(result.dialog.messages)} messages are whole, the {rest} bytes behind them not: {why}",
    )


def is_cut_off(data: bytes) -> bool:
    """Whether a torn archive lacks no more than its end: behind the whole messages no other one ends."""
    result = scan(data)
    whole = result.dialog is not None and result.dialog.ended_ms is None
    return whole and not _ENDS_MESSAGE.search(data, result.size)


def faults_of_archive(archive_id: str, data: bytes, dialog: Dialog) -> Iterator[Fault]:
    """What does not fit together in an archive that can be read."""
    assert dialog.ended_ms is not None, "it is an archive"
    count = _count_in(data)
    if count != len(dialog.messages):
        yield Kind.COUNT, f"its footer counts {count} messages, it holds {len(dialog.messages)}"
    expected = second_name(dialog.ended_ms)
    if not archive_id.startswith(expected):
        yield Kind.NAME, f"it ended {iso_utc(dialog.ended_ms)}, its name says otherwise"
    yield from faults_of_messages(dialog)


def _count_in(data: bytes) -> int:
    try:
        _, _, count = read_end(data[-TAIL_BYTES:])
    except NotADialogError:  # a person has laid it out anew
        loaded = load_yaml(data)
        assert isinstance(loaded, dict), "it was read as a dialog"
        _, _, count = read_footer(loaded)
    return count


def faults_of_messages(dialog: Dialog) -> Iterator[Fault]:
    """What does not fit together in the messages of a dialog, open or archived."""
    if not dialog.messages:
        yield Kind.NO_DIALOG, "it holds no message"
    before_ms = dialog.conversation.started_ms
    seen: set[str] = set()
    older: list[int] = []
    twice: list[int] = []
    for number, message in enumerate(dialog.messages, 1):
        if message.timestamp_ms < before_ms:
            older.append(number)
        if message.id in seen:
            twice.append(number)
        seen.add(message.id)
        before_ms = max(before_ms, message.timestamp_ms)
    if older:
        yield Kind.ORDER, f"{_numbered(older)} older than what stands before"
    elif dialog.ended_ms is not None and dialog.ended_ms < before_ms:
        yield Kind.ORDER, "it ended before its last message"
    if twice:
        yield Kind.DUPLICATE, f"{_numbered(twice)} under the id of an earlier one"


def _numbered(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 1} more are" if len(numbers) > 1 else " is"
    return f"message {numbers[0]}{more}"
