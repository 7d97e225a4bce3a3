"""What a user's connections are told of the dialog."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence

from potoserver import Event, ModuleContext, ProblemError, UnavailableError, iso_utc

from .journal.records import Message
from .wire import ArchiveChange, RestoredDialog

_LOOK_AGAIN_S = 1.0
"""Between two tries to tell of a gap, while the engine is away."""


class Announcer:
    """Publishes the chat's events. An engine that is away never fails what the event only tells of.

    But whoever is connected must not go on without a message and not know it: of one that could not be
    published it is seen to, once the engine is back and before anything else is published, that they are
    told of a gap. So there is one of these for all that publishes.

    Args:
        context: Where events are published.
    """

    def __init__(self, context: ModuleContext) -> None:
        self._context = context
        self._logger = context.logger()
        self._unsure: dict[str, list[str]] = {}
        """By user, the messages of which it is not known whether they were published."""
        self._settling = asyncio.Lock()

    async def message(
        self,
        user_id: str,
        conversation_id: str,
        message: Message,
        request_id: str,
        *,
        finishes: bool = False,
    ) -> None:
        """Tells of a message that was journaled; a reply finishes the deltas that it grew by."""
        data = {
            "conversationId": conversation_id,
            "messageId": message.id,
            "role": message.role,
            "content": message.content,
            "timestamp": iso_utc(message.timestamp_ms),
            "interrupted": message.interrupted,
            "requestId": request_id,
        }
        event = Event("message", data, replaces=message.id if finishes else None)
        if not await self._publish(user_id, event):
            self.make_sure(user_id, message.id)

    async def go_on(
        self,
        user_id: str,
        conversation_id: str,
        messages: Sequence[Message],
        told: Sequence[Event],
        since_ms: int,
    ) -> None:
        """Goes on where another node has broken off.

        Where it had no time to tell of the last message, that is told now; where more is missing, a gap.

        Args:
            user_id: Whose dialog.
            conversation_id: Which.
            messages: All that it has.
            told: What the user's log holds.
            since_ms: A message since then must be in the log, where that has nothing of the dialog.
        """
        told = _without_late(told)
        growing = {event.group: str(event.data["requestId"]) for event in told if event.group is not None}
        first = _first_untold(messages, told)
        if first is None:
            first = bisect_left(messages, since_ms, key=lambda message: message.timestamp_ms)
        missing = messages[first:]
        if len(missing) == 1:
            message = missing[0]
            request_id = growing.pop(message.id, message.idempotency_key or "")
            finishes = message.role == "assistant"
            await self.message(user_id, conversation_id, message, request_id, finishes=finishes)
        elif missing:
            self.make_sure(user_id, missing[0].id)
        for message_id, request_id in growing.items():
            problem = UnavailableError("The server that was making this reply is gone. Ask again.")
            await self.failed(user_id, conversation_id, message_id, request_id, problem)

    def make_sure(self, user_id: str, message_id: str) -> None:
        """Sees to it that the user's connections got a message, or are told of a gap; as soon as it can."""
        begins = not self._unsure
        self._unsure.setdefault(user_id, []).append(message_id)
        if begins:
            self._context.spawn(self._make_sure(), "make sure of events")

    async def _make_sure(self) -> None:
        try:
            for user_id in list(self._unsure):
                await self.settle(user_id)
        except UnavailableError:
            pass
        if self._unsure:
            self._context.clock.call_later(_LOOK_AGAIN_S, self._look_again)

    async def settle(self, user_id: str) -> None:
        """Returns once the user's connections got each message, or are told of a gap.

        Raises:
            UnavailableError: The engine is away.
        """
        if user_id not in self._unsure:
            return
        async with self._settling:
            unsure = self._unsure.get(user_id, [])
            for message_id in tuple(unsure):
                if not await self._context.ensure_published(user_id, "message", message_id):
                    self._logger.warning("message not told, gap told", user=user_id, message=message_id)
                unsure.remove(message_id)
            if not unsure:
                self._unsure.pop(user_id, None)

    def _look_again(self) -> None:
        if not self._context.draining:
            self._context.spawn(self._make_sure(), "make sure of events")

    async def delta(
        self, user_id: str, conversation_id: str, message_id: str, text: str, request_id: str
    ) -> None:
        """Tells of a reply's next piece."""
        data = {
            "conversationId": conversation_id,
            "messageId": message_id,
            "text": text,
            "requestId": request_id,
        }
        await self._publish(user_id, Event("delta", data, group=message_id))

    async def failed(
        self, user_id: str, conversation_id: str, message_id: str, request_id: str, problem: ProblemError
    ) -> None:
        """Tells that a reply will not come, and takes its deltas back."""
        data = {
            "conversationId": conversation_id,
            "messageId": message_id,
            "requestId": request_id,
            "status": problem.status,
            "detail": problem.detail,
        }
        await self._publish(user_id, Event("failed", data, replaces=message_id))

    async def archived(self, user_id: str, notice: dict[str, str]) -> None:
        """Tells connections that are open that the dialog has ended."""
        try:
            presence = await self._context.presence_of(user_id)
        except UnavailableError as error:
            self._logger.warning("presence not known", user=user_id, error=str(error))
            return
        if presence.connections:
            await self._publish(user_id, Event("archived", notice))

    async def restored(self, user_id: str, archive_id: str, restored: RestoredDialog) -> None:
        """Tells that an archive is the current dialog again."""
        data = {
            "id": archive_id,
            "conversation": restored.conversation_id,
            "superseded": restored.superseded,
        }
        await self._publish(user_id, Event("restored", data))

    async def archives(
        self,
        user_id: str,
        change: ArchiveChange,
        archive_id: str | None = None,
        title: str | None = None,
        *,
        pinned: bool | None = None,
    ) -> None:
        """Tells of a change of the user's archives, by themselves."""
        data = {"change": change, "id": archive_id, "title": title, "pinned": pinned}
        await self._publish(user_id, Event("archives", data))

    async def _publish(self, user_id: str, event: Event) -> bool:
        try:
            if user_id in self._unsure:
                await self.settle(user_id)
            await self._context.publish(user_id, event)
        except UnavailableError as error:
            self._logger.warning("event not published", user=user_id, type=event.type, error=str(error))
            return False
        return True


def _first_untold(messages: Sequence[Message], told: Sequence[Event]) -> int | None:
    """The place of the first message that was not told; None where nothing told is of this dialog.

    A log is in the dialog's order and loses its old end alone: what is behind the last that it has was not
    told. A reply that grows was begun when all before it was.
    """
    places = {message.id: place for place, message in enumerate(messages)}
    for event in reversed(told):
        if event.group is not None:
            return places.get(event.group, len(messages))
        if event.type == "message" and event.data["messageId"] in places:
            return places[event.data["messageId"]] + 1
    return None


def _without_late(told: Sequence[Event]) -> list[Event]:
    """The log without the pieces of replies that are there as a whole.

    What a node that was cut off had sent may arrive when its successor has told all.
    """
    finished = {event.data["messageId"] for event in told if event.type == "message"}
    return [event for event in told if event.group not in finished]
