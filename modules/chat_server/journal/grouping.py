"""Appends of many users, written and flushed together by a few threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class _Waiting:
    dialogs: UserDialogs
    message: Message
    conversation: Conversation
    kept: asyncio.Future[Message]


class GroupedAppends:
    """Hands what waits to a thread as one batch: all writes, then all flushes.

    While every thread is busy, appends gather; so the batches grow with the load, and an append that comes
    alone waits for nobody.

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
        self._workers: set[asyncio.Task[None]] = set()

    async def append(self, dialogs: UserDialogs, message: Message, conversation: Conversation) -> Message:
        """Appends a message to a user's dialog that is ready for it; the caller serializes the user.

        Raises:
            JournalError: It was not kept.
        """
        kept: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(dialogs, message, conversation, kept))
        if len(self._workers) < self._threads:
            worker = asyncio.create_task(self._work(), name="journal appends")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await kept

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
            begun_s = self._clock.monotonic_s()
            outcomes = await asyncio.get_running_loop().run_in_executor(self._pool, _run, batch)
            self._logger.debug(
                "batch flushed",
                appends=len(batch),
                waiting=len(self._waiting),
                ms=round((self._clock.monotonic_s() - begun_s) * 1000, 1),
            )
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.kept.done():
                    continue  # the loop is being torn down
                if isinstance(outcome, Message):
                    waiting.kept.set_result(outcome)
                else:
                    waiting.kept.set_exception(outcome)

    def close(self) -> None:
        """Ends the threads; no append may be on its way."""
        self._pool.shutdown()


def _run(batch: Sequence[_Waiting]) -> list[Message | BaseException]:
    outcomes: list[Message | BaseException] = []
    for waiting in batch:
        try:
            waiting.dialogs.write(waiting.message, waiting.conversation)
        except BaseException as error:  # noqa: BLE001 - it is raised where the message came from
            outcomes.append(error)
        else:
            outcomes.append(waiting.message)
    for position, waiting in enumerate(batch):
        if isinstance(outcomes[position], Message):
            try:
                outcomes[position] = waiting.dialogs.flush()
            except BaseException as error:  # noqa: BLE001 - likewise
                outcomes[position] = error
    return outcomes
