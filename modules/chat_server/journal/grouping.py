"""Appends of many users, written and flushed together by a few threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from potoserver import Clock

from .records import Conversation, Message
from .user_dialogs import UserDialogs

APPEND_THREADS: Final = 4
"""Where they wait for the medium; what only writes is done sooner by one, with fewer changes of threads."""
BATCH_LIMIT: Final = 32
"""Each append of a batch holds one descriptor until it is flushed."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """An append on its way.

    Attributes:
        told: Called on the loop with what came of it.
        outcome: That; None until a thread is done with it.
    """

    dialogs: UserDialogs
    message: Message
    conversation: Conversation
    told: Callable[[Message | BaseException], None]
    outcome: Message | BaseException | None = None


class GroupedAppends:
    """Hands what waits to a thread as one batch: all writes, then all flushes.

    What comes in one turn of the loop goes together. While every thread is busy, appends gather; so the
    batches grow with the load, and an append that comes alone waits for nobody.

    Args:
        clock: Times the batches.
        logger: `journal:append`.
        flushes: Whether a flush waits for the medium.
    """

    def __init__(self, clock: Clock, logger: FilteringBoundLogger, *, flushes: bool = True) -> None:
        self._clock = clock
        self._logger = logger
        self._threads = APPEND_THREADS if flushes else 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="journal-append")
        self._waiting: deque[_Waiting] = deque()
        self._busy = 0
        self._is_due = False
        """A turn of the loop is under way whose appends have not been handed over yet."""

    def append(
        self,
        dialogs: UserDialogs,
        message: Message,
        conversation: Conversation,
        told: Callable[[Message | BaseException], None],
    ) -> None:
        """Appends a message to a user's dialog that is ready for it; the caller serializes the user.

        Args:
            dialogs: The user's.
            message: What is appended.
            conversation: To which dialog.
            told: Called on the loop, once, with the message as it is kept or the error. It must not raise.
        """
        self._waiting.append(_Waiting(dialogs, message, conversation, told))
        if not self._is_due and self._busy < self._threads:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._is_due = False
        loop = asyncio.get_running_loop()
        while self._waiting and self._busy < self._threads:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
            self._busy += 1
            self._pool.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting]) -> None:
        begun_s = self._clock.monotonic_s()
        try:
            _write_and_flush(batch)
        finally:
            # Once for the batch: each time may wake the loop, and changes threads.
            loop.call_soon_threadsafe(self._done, batch, self._clock.monotonic_s() - begun_s)

    def _done(self, batch: Sequence[_Waiting], took_s: float) -> None:
        self._busy -= 1
        self._hand_over()
        self._logger.debug(
            "batch flushed", appends=len(batch), waiting=len(self._waiting), ms=round(took_s * 1000, 1)
        )
        for waiting in batch:
            assert waiting.outcome is not None, "a thread is done with it"
            waiting.told(waiting.outcome)

    def close(self) -> None:
        """Ends the threads; no append may be on its way."""
        self._pool.shutdown()


def _write_and_flush(batch: Sequence[_Waiting]) -> None:
    for waiting in batch:
        try:
            waiting.dialogs.write(waiting.message, waiting.conversation)
        except BaseException as error:  # noqa: BLE001 - it is raised where the message came from
            waiting.outcome = error
        else:
            waiting.outcome = waiting.message
    for waiting in batch:
        if isinstance(waiting.outcome, Message):
            try:
                waiting.outcome = waiting.dialogs.flush()
            except BaseException as error:  # noqa: BLE001 - likewise
                waiting.outcome = error
