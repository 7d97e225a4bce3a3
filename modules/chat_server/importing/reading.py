"""From what was sent to dialogs: what its shape alone can't say is checked here. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from potoserver import FieldError, ProblemError

from ..journal.records import Conversation, Dialog, ImportedDialog, Message, Reason
from ..journal.titles import as_title, fault_of
from .shapes import ImportedArchive, ImportedMessage, ListedMessage

_MOST_AHEAD_MS: Final = 5 * 60 * 1000
"""Another server's clock may be ahead; an end in the future would pull all later ones along."""
_MOST_ERRORS: Final = 50
_CHATTING: Final = ("user", "assistant")


class _Errors:
    """Collects what is wrong, up to a limit."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, field: str, message: str) -> None:
        self.found.append(FieldError(field, message))
        if len(self.found) >= _MOST_ERRORS:
            self.refuse()

    def refuse(self) -> None:
        """Raises where there is any."""
        if self.found:
            raise ProblemError(422, "These archives can't be imported; nothing was added.", errors=self.found)


def read_archives(user_id: str, archives: Sequence[ImportedArchive], now_ms: int) -> list[ImportedDialog]:
    """The dialogs that an export holds.

    Args:
        user_id: Whose they become.
        archives: As they were sent.
        now_ms: Wall time, milliseconds since 1970 UTC: none may end later.

    Raises:
        ProblemError: 422 with the path of each field that is wrong.
    """
    errors = _Errors()
    dialogs = [
        _read(user_id, archive, f"archives.{number}", now_ms, errors)
        for number, archive in enumerate(archives)
    ]
    errors.refuse()
    return dialogs


def _read(user_id: str, archive: ImportedArchive, path: str, now_ms: int, errors: _Errors) -> ImportedDialog:
    fault = fault_of(archive.title or "")
    if fault:
        errors.add(f"{path}.title", fault)
    started_ms = _moment(archive.started_at, f"{path}.startedAt", errors) or 0
    last_ms, front = started_ms, "the start"
    known: set[str] = set()
    messages = []
    for number, message in enumerate(archive.messages):
        at = f"{path}.messages.{number}"
        at_ms = _moment(message.timestamp, f"{at}.timestamp", errors)
        if at_ms is None:
            at_ms = last_ms
        elif at_ms < last_ms:
            errors.add(f"{at}.timestamp", f"must not be before {front}")
        if message.id in known:
            errors.add(f"{at}.id", "must be another one for each message of an archive")
        known.add(message.id)
        last_ms, front = max(at_ms, last_ms), "the message in front of it"
        messages.append(_message(message, at_ms))
    ended_ms = _moment(archive.ended_at, f"{path}.endedAt", errors)
    if ended_ms is None:
        pass
    elif ended_ms < last_ms:
        errors.add(f"{path}.endedAt", "must not be before the last message")
    elif ended_ms > now_ms + _MOST_AHEAD_MS:
        errors.add(f"{path}.endedAt", "must not be in the future")
    return ImportedDialog(
        Dialog(
            Conversation(archive.conversation_id, started_ms),
            user_id,
            tuple(messages),
            ended_ms,
            Reason(archive.reason),
            title=as_title(archive.title or ""),
            pinned=archive.pinned,
        ),
        wanted_id=archive.id,
        path=path,
    )


def _message(message: ImportedMessage, at_ms: int) -> Message:
    return Message(
        role=message.role,
        content=message.content,
        id=message.id,
        timestamp_ms=at_ms,
        model=message.model,
        reasoning=message.reasoning,
        finish_reason=message.finish_reason,
        interrupted=message.interrupted,
        reply_to=message.reply_to,
    )


def _moment(text: str, field: str, errors: _Errors) -> int | None:
    """Milliseconds since 1970 UTC of a time that has the right form; None for none that there is."""
    try:
        moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or moment.year < 1970:
        errors.add(field, "must be a time that there is, not before 1970")
        return None
    return int(moment.timestamp()) * 1000 + int(text[20:-1].ljust(3, "0"))


def read_list(
    user_id: str, listed: Sequence[ListedMessage], title: str | None, now_ms: int
) -> list[ImportedDialog]:
    """The one dialog that a list of messages is. The same list is always the same conversation.

    Args:
        user_id: Whose it becomes.
        listed: As they were sent. Other roles than user and assistant, and what has no text, are left out.
        title: Given to it, or None.
        now_ms: Such a list has no times; all of it gets this one.

    Raises:
        ProblemError: 422, nothing is left of it, or the title can't be one.
    """
    errors = _Errors()
    fault = fault_of(title or "")
    if fault:
        errors.add("title", fault)
    kept = [(each.role, each.text) for each in listed if each.role in _CHATTING and each.text]
    if not kept:
        errors.add("messages", "must hold a text of role user or assistant")
    errors.refuse()
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:24]
    messages = tuple(
        Message(role, text, f"m-{digest}-{number}", now_ms) for number, (role, text) in enumerate(kept)
    )
    dialog = Dialog(
        Conversation(f"import-{digest}", now_ms),
        user_id,
        messages,
        now_ms,
        Reason.REQUEST,
        title=as_title(title or ""),
    )
    return [ImportedDialog(dialog, wanted_id=None, path="messages", named_by_content=True)]
