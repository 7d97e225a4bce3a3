"""Owned tasks: work that must finish, whoever started it may have gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock

_T = TypeVar("_T")

CANCELLED_S = 0.5
"""What a task may take to end once it is cancelled."""


class ExitError(Exception):
    """Work that asked the process to exit: refused, since a module is not the process."""


async def contained(work: Awaitable[_T]) -> _T:
    """Awaits work whose `sys.exit()` must not end the server: asyncio would let it through.

    Raises:
        ExitError: The work raised SystemExit.
    """
    try:
        return await work
    except SystemExit as error:
        raise ExitError(f"it asked the process to exit with {error.code!r}") from error


class OwnedTasks:
    """Runs work apart from the handler that asked for it, and awaits it at shutdown.

    Args:
        logger: Where a failure is reported that nobody else awaits.
        clock: Measures the limit at shutdown.
    """

    def __init__(self, logger: FilteringBoundLogger, clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts work as a task of this set. Awaiting it through `asyncio.shield` is safe."""
        task = asyncio.create_task(contained(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._logger.error("task failed", task=task.get_name(), error=repr(error), exc_info=error)

    async def drain(self, limit_s: float) -> list[str]:
        """Awaits all tasks, also those that they start, then cancels what is left.

        Returns:
            The names of the tasks that had to be cancelled; empty when all finished.
        """
        try:
            async with self._clock.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            pass
        left = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCELLED_S)
        return sorted(task.get_name() for task in left)
