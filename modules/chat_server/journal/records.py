"""What a journal keeps, and what it tells of that: dialogs, messages, archives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a dialog ended."""

    DISCONNECT = "disconnect"
    """The user's last connection was gone for the grace."""
    TIMEOUT = "timeout"
    """The fallback found no activity."""
    SHUTDOWN = "shutdown"
    """The server stopped in order."""
    REQUEST = "request"
    """The user asked for it."""
    RECOVERED = "recovered"
    """A crash had left it open, and nobody went on with it."""
    SUPERSEDED = "superseded"
    """Another conversation of the user had to begin."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One dialog, by name.

    Attributes:
        id: `sse-<ms>-<9 of a-z0-9>`.
        started_ms: When it began: wall time, milliseconds since 1970 UTC.
    """

    id: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a dialog.

    Attributes:
        role: `user` or `assistant`.
        content: The text, any Unicode without lone surrogates.
        id: `m-…`, new for each message.
        timestamp_ms: When it was journaled; the journal never lets it go back within a dialog.
        model: What model answered, or None.
        reasoning: The model's reasoning, apart from the reply, or None.
        finish_reason: Why the reply ended (`stop`, `length`, …), or None.
        interrupted: The reply was kept as far as it got.
        reply_to: The id of the question that this answers, where it does not stand right behind it.
        idempotency_key: The key that the question came with, or None.
        request_digest: SHA-256 (hex) of the request that came with the key, or None.
    """

    role: str
    content: str
    id: str
    timestamp_ms: int
    model: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    interrupted: bool = False
    reply_to: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Dialog:
    """A dialog as it stands on disk: open, or archived when `ended_ms` is there.

    Attributes:
        conversation: Which one.
        user_id: Whose.
        messages: Oldest first.
        ended_ms: When it ended: wall time, milliseconds since 1970 UTC.
        reason: Why.
        title: The title that was given to it, or None.
        pinned: Kept on top by its user, and from the retention.
    """

    conversation: Conversation
    user_id: str
    messages: tuple[Message, ...]
    ended_ms: int | None = None
    reason: Reason | None = None
    title: str | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class OpenDialog:
    """A dialog that was left open, found again.

    Attributes:
        conversation: Which one.
        last_activity_ms: Its last message's timestamp.
        messages: How many it holds.
    """

    conversation: Conversation
    last_activity_ms: int
    messages: int


@dataclass(frozen=True, slots=True)
class Restored:
    """An archive that is the open dialog again.

    Attributes:
        dialog: The open dialog.
        superseded: The archive that the dialog became which was open before; None where there was none.
    """

    dialog: OpenDialog
    superseded: str | None


@dataclass(frozen=True, slots=True)
class ImportedDialog:
    """A dialog from elsewhere that is to be an archive.

    Attributes:
        dialog: With its end.
        wanted_id: What it was called; kept where that is free and names the second of the end.
        path: Where it stands in what was sent, for errors.
        named_by_content: The conversation's id is made of its words, so they are there if it is.
    """

    dialog: Dialog
    wanted_id: str | None
    path: str
    named_by_content: bool = False


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What an import came to.

    Attributes:
        imported: What was added, in the order in which it was given.
        skipped: How many were there already.
    """

    imported: tuple[ArchiveSummary, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """An archive, from its file's head and tail alone.

    Attributes:
        id: The file's name without `.yaml`.
        conversation: Which dialog it holds.
        ended_ms: When it ended.
        reason: Why.
        message_count: How many messages it holds.
        first_words: Of the dialog, see `titles.first_words`.
        title: The title that was given to it, or None.
        pinned: Kept on top by its user, and from the retention.
    """

    id: str
    conversation: Conversation
    ended_ms: int
    reason: Reason
    message_count: int
    first_words: str
    title: str | None = None
    pinned: bool = False

    @property
    def shown_title(self) -> str:
        """The title given, else the first words."""
        return self.title or self.first_words


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """Some archives, newest first (by end, then by suffix), and where the next page begins, if any."""

    archives: tuple[ArchiveSummary, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class KeyedMessage:
    """A question found by its idempotency key.

    Attributes:
        conversation: Where it stands.
        question: The user's message.
        reply: Its answer, or None when none was journaled.
        history: The messages before the question, in its dialog.
        replied_in: Where the reply stands: a later conversation when the question's had ended before.
    """

    conversation: Conversation
    question: Message
    reply: Message | None
    history: tuple[Message, ...]
    replied_in: Conversation | None = None
