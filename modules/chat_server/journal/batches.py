"""Blocking work of many users in steps, each step done for all of them by one thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

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


def tell(done: asyncio.Future[_R], outcome: _R | BaseException) -> None:
    """Tells whoever waits what came of something; who has waited may have gone."""
    if done.done():
        return
    if isinstance(outcome, BaseException):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


@dataclass(slots=True, eq=False)
class _Waiting:
    """Work on its way.

    Attributes:
        steps: It.
        told: Called on the loop with what came of it.
        outcome: That, once a thread is done with it: what it has returned, or raised.
    """

    steps: Steps[Any]
    told: Callable[[Any], None]
    outcome: Any = None


class Batches:
    """Hands what waits to a thread as one batch: the first steps of all, then their second ones, and so on.

    So one flush reaches the medium for many. What comes in one turn of the loop goes together. While every
    thread is busy, work gathers; so the batches grow with the load, and what comes alone waits for nobody.

    Args:
        clock: Times the batches.
        logger: Told of each, at debug level.
        what: What the work is called there, as many.
        threads: How many batches are under way at once.
        name: What the threads are called.
    """

    def __init__(
        self, clock: Clock, logger: FilteringBoundLogger, what: str, threads: int, name: str
    ) -> None:
        self._clock = clock
        self._logger = logger
        self._what = what
        self._idle = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[_Waiting] = deque()
        self._is_due = False
        """A turn of the loop is under way whose work has not been handed over yet."""

    def put(self, steps: Steps[_R], told: Callable[[_R | BaseException], None]) -> None:
        """Does work to its end; the caller sees to it that it may be done now.

        Args:
            steps: It.
            told: Called on the loop, once, with what it returned or raised. It must not raise.
        """
        self._waiting.append(_Waiting(steps, told))
        if self._idle and not self._is_due:
            self._is_due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._hand_over, loop)

    async def run(self, steps: Steps[_R]) -> _R:
        """The same, and returns what the work returns; it goes on though the caller is cancelled."""
        done: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self.put(steps, lambda outcome: tell(done, outcome))
        return await done

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        while self._waiting and self._idle:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
            self._idle -= 1
            self._pool.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting]) -> None:
        begun_s = self._clock.monotonic_s()
        going = list(batch)
        while going:
            going = [waiting for waiting in going if _step(waiting)]
        # Once for the batch: each time may wake the loop, and changes threads.
        loop.call_soon_threadsafe(self._ran, loop, batch, self._clock.monotonic_s() - begun_s)

    def _ran(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting], took_s: float) -> None:
        self._idle += 1
        self._hand_over(loop)
        self._logger.debug(
            "batch flushed",
            **{self._what: len(batch)},
            waiting=len(self._waiting),
            ms=round(took_s * 1000, 1),
        )
        for waiting in batch:
            waiting.told(waiting.outcome)

    def close(self) -> None:
        """Ends the threads; nothing may be on its way."""
        self._pool.shutdown()


def _step(waiting: _Waiting) -> bool:
    """Does a step; whether there is another one."""
    try:
        next(waiting.steps)
    except StopIteration as end:
        waiting.outcome = end.value
    except BaseException as error:  # noqa: BLE001 - it is raised where the work came from
        waiting.outcome = error
    else:
        return True
    return False
