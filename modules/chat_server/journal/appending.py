"""Appends a message: what must come before it, the write and flush, what is told of it."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from .errors import JournalError, UserFullError
from .grouping import GroupedAppends
from .patience import patiently
from .records import Conversation, Message
from .tools import Tools, journal_errors
from .user_calls import UserCalls
from .user_dialogs import UserDialogs


class Appending:
    """Appends messages to dialogs.

    Args:
        tools: What all users' dialogs share.
        calls: Runs what else blocks.
        grouped: Writes and flushes.
        logger: `journal:append`.
    """

    def __init__(
        self, tools: Tools, calls: UserCalls, grouped: GroupedAppends, logger: FilteringBoundLogger
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._grouped = grouped
        self._logger = logger
        self._clock = tools.clock

    async def append(
        self, dialogs: UserDialogs, user_id: str, message: Message, conversation: Conversation
    ) -> Message:
        """See `DialogueJournal.add_message`; the caller is alone with the user's dialogs."""
        begun_s = self._clock.monotonic_s()
        about = {
            "user": user_id,
            "conversation": conversation.id,
            "message": message.id,
            "role": message.role,
        }
        self._logger.debug("append begun", **about, chars=len(message.content))
        try:
            if not dialogs.is_ready(conversation):
                await self._calls.within(dialogs, lambda own: own.make_ready(conversation), making=True)
            if message.role == "user" and not self._tools.usage.knows(user_id):
                await self._calls.threads.run(self._measure, user_id)
            try:
                kept = await self._write(dialogs, message, conversation)
            except UserFullError:
                # Somebody may have deleted archives since they were counted.
                if not await self._calls.threads.run(self._measure, user_id):
                    raise
                kept = await self._write(dialogs, message, conversation)
        except JournalError as error:
            self._logger.warning("message not kept", **about, error=repr(error.__cause__ or error))
            raise
        took_s = self._clock.monotonic_s() - begun_s
        self._tools.metrics.append_seconds.observe(took_s)
        size = len(kept.content.encode())
        self._logger.debug("append flushed", **about, bytes=size, ms=round(took_s * 1000, 1))
        self._logger.info("session message added to dialogue journal", **about, bytes=size)
        return kept

    async def _write(self, dialogs: UserDialogs, message: Message, conversation: Conversation) -> Message:
        return await patiently(
            self._clock, dialogs.fence, lambda: self._grouped.append(dialogs, message, conversation)
        )

    def _measure(self, user_id: str) -> bool:
        """Measures a user's folder; False where that was done only now."""
        with journal_errors(failing="Your dialogs can't be measured now, so the message was not kept."):
            return self._tools.usage.measure_again(user_id)
