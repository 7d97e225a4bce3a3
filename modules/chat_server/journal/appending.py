"""Appends a message: what must come before it, the write and flush, what is told of it."""

from __future__ import annotations

import asyncio
import logging

from structlog.typing import FilteringBoundLogger

from potoserver import User

from .batches import Batches, Steps, tell
from .errors import HeldElsewhereError, JournalError, UserFullError
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
        batches: Write and flush.
        logger: `journal:append`.
    """

    def __init__(
        self, tools: Tools, calls: UserCalls, batches: Batches, logger: FilteringBoundLogger
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._batches = batches
        self._logger = logger
        self._tells_steps = logger.is_enabled_for(logging.DEBUG)
        self._clock = tools.clock

    async def append(self, user: User, message: Message, conversation: Conversation) -> Message:
        """See `DialogueJournal.add_message`."""
        user_id = user.id
        dialogs = self._calls.nobody_in(user_id)
        if dialogs is None or not self._is_ready(dialogs, user_id, message, conversation):
            return await self._calls.alone(
                user, lambda own: self._append(own, user_id, message, conversation)
            )
        kept: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._append_now(dialogs, user_id, message, conversation, kept)
        return await kept

    def _is_ready(
        self, dialogs: UserDialogs, user_id: str, message: Message, conversation: Conversation
    ) -> bool:
        """Whether the write is all that there is to do."""
        return dialogs.is_ready(conversation) and (message.role != "user" or self._tools.usage.knows(user_id))

    def _append_now(
        self,
        dialogs: UserDialogs,
        user_id: str,
        message: Message,
        conversation: Conversation,
        kept: asyncio.Future[Message],
    ) -> None:
        """Appends where the write is all that there is to do: without a task, and to its end all the same.

        `kept` gets what comes of it. Who asked may have gone, and have cancelled that.
        """
        ticket = self._calls.enter(user_id)
        begun_s = self._begin(user_id, message, conversation)

        def told(outcome: Message | BaseException) -> None:
            if isinstance(outcome, HeldElsewhereError | UserFullError):
                self._calls.go_on(
                    user_id, ticket, lambda own: self._append(own, user_id, message, conversation), kept
                )
                return
            if isinstance(outcome, JournalError):
                self._log_failure(user_id, message, conversation, outcome)
            elif isinstance(outcome, Message):
                self._end(user_id, outcome, conversation, begun_s)
            self._calls.leave(user_id, ticket, outcome if isinstance(outcome, BaseException) else None)
            tell(kept, outcome)

        self._batches.put(_steps(dialogs, message, conversation), told)

    async def _append(
        self, dialogs: UserDialogs, user_id: str, message: Message, conversation: Conversation
    ) -> Message:
        """The same whatever there is to do; the caller is alone with the user's dialogs."""
        begun_s = self._begin(user_id, message, conversation)
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
            self._log_failure(user_id, message, conversation, error)
            raise
        self._end(user_id, kept, conversation, begun_s)
        return kept

    async def _write(self, dialogs: UserDialogs, message: Message, conversation: Conversation) -> Message:
        return await patiently(
            self._clock, dialogs.fence, lambda: self._batches.run(_steps(dialogs, message, conversation))
        )

    def _begin(self, user_id: str, message: Message, conversation: Conversation) -> float:
        """When it began, on the monotonic clock."""
        if self._tells_steps:
            about = _about(user_id, message, conversation)
            self._logger.debug("append begun", **about, chars=len(message.content))
        return self._clock.monotonic_s()

    def _end(self, user_id: str, kept: Message, conversation: Conversation, begun_s: float) -> None:
        took_s = self._clock.monotonic_s() - begun_s
        self._tools.metrics.append_seconds.observe(took_s)
        about = _about(user_id, kept, conversation)
        size = len(kept.content.encode())
        self._logger.debug("append flushed", **about, bytes=size, ms=round(took_s * 1000, 1))
        self._logger.info("session message added to dialogue journal", **about, bytes=size)

    def _log_failure(
        self, user_id: str, message: Message, conversation: Conversation, error: JournalError
    ) -> None:
        about = _about(user_id, message, conversation)
        self._logger.warning("message not kept", **about, error=repr(error.__cause__ or error))

    def _measure(self, user_id: str) -> bool:
        """Measures a user's folder; False where that was done only now."""
        with journal_errors(failing="Your dialogs can't be measured now, so the message was not kept."):
            return self._tools.usage.measure_again(user_id)


def _about(user_id: str, message: Message, conversation: Conversation) -> dict[str, str]:
    return {
        "user": user_id,
        "conversation": conversation.id,
        "message": message.id,
        "role": message.role,
    }


def _steps(dialogs: UserDialogs, message: Message, conversation: Conversation) -> Steps[Message]:
    dialogs.write(message, conversation)
    yield
    return dialogs.flush()
