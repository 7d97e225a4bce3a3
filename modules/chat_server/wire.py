"""What the chat's methods answer. Times are ISO 8601, UTC."""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Literal, Self

from pydantic import Field

from potoserver import Encoded, WireModel, iso_utc

from .journal.records import ArchivePage, ArchiveSummary, Dialog, Message
from .journal.titles import title_of
from .search import Found, FoundPage


class ReplyDelta(WireModel):
    """A piece of a growing reply: the pieces' texts joined are the reply, as are those of its reasoning."""

    text: str = Field("", description="The next piece of the reply.")
    reasoning: str = Field("", description="The next piece of the reasoning.")

    @staticmethod
    def encoded(text: str, reasoning: str) -> Encoded:
        """One as JSON, for a tenth of what making and dumping one costs: a model sends very many."""
        return Encoded(f'{{"text":{encode_basestring(text)},"reasoning":{encode_basestring(reasoning)}}}')


class ChatReply(WireModel):
    """The answer to a chat call."""

    conversation_id: str
    message_id: str = Field(description="The reply's id.")
    reply: str
    reasoning: str | None = Field(description="The model's reasoning, where it was asked for and given.")
    finish_reason: str | None = Field(
        description="`stop`, `length`, what else the model says; `stopped` or `shutdown` for a reply that "
        "was kept as far as it got."
    )


class MessageView(WireModel):
    """One message of a dialog."""

    id: str
    role: str
    content: str
    timestamp: str
    model: str | None
    reasoning: str | None
    finish_reason: str | None
    interrupted: bool
    reply_to: str | None = Field(description="The id of the question, where it does not stand right before.")

    @classmethod
    def of(cls, message: Message) -> Self:
        """A journaled message as its user sees it."""
        return cls(
            id=message.id,
            role=message.role,
            content=message.content,
            timestamp=iso_utc(message.timestamp_ms),
            model=message.model,
            reasoning=message.reasoning,
            finish_reason=message.finish_reason,
            interrupted=message.interrupted,
            reply_to=message.reply_to,
        )


class CurrentMessageView(MessageView):
    """One message of the current conversation."""

    idempotency_key: str | None = Field(
        default=None, description="Of the call whose question this is: who sent it knows its own by that."
    )

    @classmethod
    def of(cls, message: Message) -> Self:
        """A journaled message as its user sees it."""
        return super().of(message).model_copy(update={"idempotency_key": message.idempotency_key})


class ConversationView(WireModel):
    """The user's current conversation."""

    conversation_id: str | None = Field(description="Null without a session.")
    messages: tuple[CurrentMessageView, ...]

    @classmethod
    def of(cls, conversation_id: str, messages: Iterable[Message]) -> Self:
        """A journaled conversation as its user sees it."""
        return cls(conversation_id=conversation_id, messages=tuple(map(CurrentMessageView.of, messages)))


class StopResult(WireModel):
    """Whether there was a reply to stop."""

    stopped: bool


class EndedSession(WireModel):
    """The session that was ended."""

    conversation_id: str | None = Field(description="Null when there was no session.")
    archive_id: str | None = Field(description="Null when it held no message.")


class SessionInfo(WireModel):
    """A session as its user and admins see it."""

    user_id: str
    conversation_id: str
    started_at: str
    last_activity: str
    is_active: bool = Field(description="False while an ended session is being archived.")
    connections: int


class ListedSession(SessionInfo):
    """One of all nodes' sessions."""

    node: str | None = Field(description="The node that it is on; null where there is one node alone.")


class ArchiveEntry(WireModel):
    """An archive in a list."""

    id: str
    conversation_id: str
    started_at: str
    ended_at: str
    reason: str
    message_count: int
    title: str = Field(description="The one given to it, else the first words of the dialog.")
    pinned: bool

    @classmethod
    def of(cls, summary: ArchiveSummary) -> Self:
        """The journal's summary as its user sees it."""
        return cls(
            id=summary.id,
            conversation_id=summary.conversation.id,
            started_at=iso_utc(summary.conversation.started_ms),
            ended_at=iso_utc(summary.ended_ms),
            reason=summary.reason.value,
            message_count=summary.message_count,
            title=summary.shown_title,
            pinned=summary.pinned,
        )


class ArchiveList(WireModel):
    """Some archives, newest first."""

    archives: tuple[ArchiveEntry, ...]
    cursor: str | None = Field(description="Where the next page begins; null at the end.")

    @classmethod
    def of(cls, page: ArchivePage) -> Self:
        """The journal's page as its user sees it."""
        return cls(archives=tuple(map(ArchiveEntry.of, page.archives)), cursor=page.cursor)


class ArchivedDialog(WireModel):
    """One archive, whole."""

    id: str
    conversation_id: str
    started_at: str
    ended_at: str | None
    reason: str | None
    title: str = Field(description="The one given to it, else the first words of the dialog.")
    pinned: bool
    messages: tuple[MessageView, ...]

    @classmethod
    def of(cls, archive_id: str, dialog: Dialog) -> Self:
        """The journal's dialog as its user sees it."""
        return cls(
            id=archive_id,
            conversation_id=dialog.conversation.id,
            started_at=iso_utc(dialog.conversation.started_ms),
            ended_at=None if dialog.ended_ms is None else iso_utc(dialog.ended_ms),
            reason=None if dialog.reason is None else dialog.reason.value,
            title=title_of(dialog),
            pinned=dialog.pinned,
            messages=tuple(map(MessageView.of, dialog.messages)),
        )


class RestoredDialog(WireModel):
    """The archive that is the current dialog again."""

    conversation_id: str = Field(description="Its old one.")
    message_count: int
    superseded: str | None = Field(description="The archive that the dialog became which was current before.")


class DeletedArchive(WireModel):
    """The archive that was deleted."""

    deleted: str = Field(description="Its id.")


ArchiveChange = Literal["renamed", "pinned", "deleted", "imported"]
"""What the event `archives` tells of."""


class SnippetPiece(WireModel):
    """A part of a snippet."""

    text: str
    match: bool = Field(description="Whether it is what was looked for.")


class FoundMessage(WireModel):
    """A message that a search found."""

    archive_id: str
    conversation_id: str
    title: str
    message_id: str
    role: str
    timestamp: str
    snippet: tuple[SnippetPiece, ...] = Field(
        description="Joined, about 160 characters of the message, with `…` where it is cut."
    )

    @classmethod
    def of(cls, found: Found) -> Self:
        """What was found as its user sees it."""
        return cls(
            archive_id=found.archive_id,
            conversation_id=found.conversation_id,
            title=found.title,
            message_id=found.message.id,
            role=found.message.role,
            timestamp=iso_utc(found.message.timestamp_ms),
            snippet=tuple(SnippetPiece(text=part.text, match=part.match) for part in found.snippet),
        )


class FoundMessages(WireModel):
    """Some of what a search found, newest archive first."""

    matches: tuple[FoundMessage, ...]
    cursor: str | None = Field(
        description="Where the search goes on; null when all is found. A page may be short, or empty, before "
        "that."
    )

    @classmethod
    def of(cls, page: FoundPage) -> Self:
        """A page as its user sees it."""
        return cls(matches=tuple(map(FoundMessage.of, page.found)), cursor=page.cursor)
