"""Owned tasks: work that must finish, whoever started it may have gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Final, TypeVar

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver.clock import Clock

_T = TypeVar("_T")

_TOLD: Final = object()

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


async def within(clock: Clock, limit_s: float, work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits work, as inside `clock.timeout`. What is done without any wait costs no timer.

    Raises:
        TimeoutError: It waited, and was not done in time.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    async with clock.timeout(limit_s):
        return await _Begun(work, waits_for)


class _Begun(Generator[Any, Any, _T]):
    """Work that has come as far as its first wait: goes on from there, in the task that it began in."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, _T], waits_for: Any) -> None:
        self._work = work
        self._waits_for: Any = waits_for

    def __await__(self) -> Generator[Any, Any, _T]:
        return self

    @override
    def send(self, value: Any) -> Any:
        """Tells whoever runs the task what is waited for: the first time, what is known already."""
        if self._waits_for is _TOLD:
            return self._work.send(value)
        waits_for, self._waits_for = self._waits_for, _TOLD
        return waits_for

    @override
    def throw(self, *error: Any) -> Any:
        return self._work.throw(*error)


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
