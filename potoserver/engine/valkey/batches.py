"""Calls that come at the same time go out together: one after the other costs a round trip each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from potoserver.engine.valkey.scripts import Call
from potoserver.errors import UnavailableError

_BATCH: Final = 64
_BATCH_BYTES: Final = 4 * 1024 * 1024
_WAITING: Final = 100_000
_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What may wait; beyond that nothing more is taken."""


def away() -> UnavailableError:
    """What callers are told while the engine is away."""
    return UnavailableError("What the nodes share can't be reached at the moment.")


class Batches:
    """Runs calls, those that have to wait together.

    Args:
        run_together: Runs several; gives for each its answer, or the exception that it raises.
        at_once: How many batches may be under way. With one, calls run in the order in which they came.
    """

    def __init__(self, run_together: Callable[[Sequence[Call]], Awaitable[list[Any]]], at_once: int) -> None:
        self._run_together = run_together
        self._at_once = at_once
        self._waiting: deque[tuple[Call, asyncio.Future[Any]]] = deque()
        self._waiting_bytes = 0
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Call) -> Any:
        """Runs one and returns its answer.

        Raises:
            UnavailableError: It was not run, or it is not known whether it was; or too much waits.
        """
        if len(self._waiting) >= _WAITING or self._waiting_bytes + call.size > _WAITING_BYTES:
            raise away()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, answer))
        self._waiting_bytes += call.size
        if self._running < self._at_once:
            self._running += 1
            task = asyncio.create_task(self._run(), name="engine calls")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:  # nothing awaits between this and the end, so no call is left behind
                await self._run_batch(self._take())
        finally:
            self._running -= 1

    def _take(self) -> list[tuple[Call, asyncio.Future[Any]]]:
        batch: list[tuple[Call, asyncio.Future[Any]]] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            call, answer = self._waiting.popleft()
            self._waiting_bytes -= call.size
            if not answer.done():  # its caller waits still
                batch.append((call, answer))
                size += call.size
        return batch

    async def _run_batch(self, batch: list[tuple[Call, asyncio.Future[Any]]]) -> None:
        if not batch:
            return
        answers: list[Any] = [away() for _ in batch]
        try:
            answers = await self._run_together([call for call, _ in batch])
        except UnavailableError:
            pass
        finally:
            for (_, waits), answer in zip(batch, answers, strict=True):
                if waits.done():
                    continue
                if isinstance(answer, Exception):
                    waits.set_exception(answer)
                else:
                    waits.set_result(answer)

    def refuse(self) -> None:
        """Whoever waits is told that it can't be."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(away())

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """What is under way."""
        return tuple(self._tasks)
