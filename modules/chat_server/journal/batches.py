"""Blocking work of many users in steps, each step done for all of them by one thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from structlog.typing import FilteringBoundLogger

from potoserver import Clock

BATCH_LIMIT: Final = 32
"""Each one of a batch may hold a descriptor until it is done."""

_R = TypeVar("_R")
Steps = Generator[None, None, _R]
"""Blocking work, a `yield` between two steps of it."""


def at_once(steps: Steps[_R]) -> _R:
    """Does work with nothing between its steps; returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: _R = end.value
            return value


@dataclass(slots=True, eq=False)
class _Waiting(Generic[_R]):
    """Work on its way.

    Attributes:
        steps: It.
        done: Told on the loop what came of it.
        value: What it has returned.
        error: What it has raised.
    """

    steps: Steps[_R]
    done: asyncio.Future[_R]
    value: Any = None
    error: BaseException | None = None


class Batches:
    """Hands what waits to a thread as one batch: the first steps of all, then their second ones, and so on.

    So one flush reaches the medium for many. While every thread is busy, work gathers; so the batches grow
    with the load, and what comes alone waits for nobody.

    Args:
        clock: Times the batches.
        logger: Told of each, at debug level.
        threads: How many batches are under way at once.
        name: What the threads are called.
    """

    def __init__(self, clock: Clock, logger: FilteringBoundLogger, threads: int, name: str) -> None:
        self._clock = clock
        self._logger = logger
        self._idle = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[_Waiting[Any]] = deque()
        self._is_due = False
        """What has come in this turn of the loop is handed over behind it."""

    async def run(self, steps: Steps[_R]) -> _R:
        """Does work to its end, whoever waits for it, and returns what it returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_R] = loop.create_future()
        self._waiting.append(_Waiting(steps, done))
        if self._idle and not self._is_due:
            self._is_due = True
            loop.call_soon(self._hand_over, loop)
        return await done

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        while self._waiting and self._idle:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
            self._idle -= 1
            self._pool.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting[Any]]) -> None:
        begun_s = self._clock.monotonic_s()
        going = list(batch)
        while going:
            going = [waiting for waiting in going if _step(waiting)]
        # Once for all of them: each time wakes the loop, and changes threads.
        loop.call_soon_threadsafe(self._ran, loop, batch, self._clock.monotonic_s() - begun_s)

    def _ran(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting[Any]], took_s: float) -> None:
        self._idle += 1
        self._hand_over(loop)
        self._logger.debug(
            "batch done", size=len(batch), waiting=len(self._waiting), ms=round(took_s * 1000, 1)
        )
        for waiting in batch:
            if waiting.done.done():
                continue  # the loop is being torn down
            if waiting.error is None:
                waiting.done.set_result(waiting.value)
            else:
                waiting.done.set_exception(waiting.error)

    def close(self) -> None:
        """Ends the threads; nothing may be on its way."""
        self._pool.shutdown()


def _step(waiting: _Waiting[Any]) -> bool:
    """Does a step; whether there is another one."""
    try:
        next(waiting.steps)
    except StopIteration as end:
        waiting.value = end.value
    except BaseException as error:  # noqa: BLE001 - it is raised where the work came from
        waiting.error = error
    else:
        return True
    return False
