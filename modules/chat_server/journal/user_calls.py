"""Calls on users' dialogs: each runs to its end, and those of one user one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from potoserver import User

from .errors import FencedError, JournalError, JournalUnavailableError
from .patience import patiently
from .threads import Threads
from .tools import DiskWatch, Tools
from .user_dialogs import UserDialogs

_R = TypeVar("_R")


@dataclass(slots=True)
class _InUse:
    """One user's dialogs while somebody uses them or one is open.

    Attributes:
        dialogs: The blocking part; only touched with the lock held.
        lock: Calls for one user take effect one after the other.
        calls: How many hold the lock or wait for it.
    """

    dialogs: UserDialogs
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0


class UserCalls:
    """Runs each call as a task of its own, so that it finishes whoever asked for it.

    Args:
        tools: What all users' dialogs share.
        threads: Where what blocks runs.
        watch: Told how the disk does.

    Attributes:
        in_use: What is known of users' open dialogs, and of those that somebody uses.
        tasks: The calls that run.
        threads: Where what blocks runs.
        accepting: Whether further ones are taken.
    """

    def __init__(self, tools: Tools, threads: Threads, watch: DiskWatch | None) -> None:
        self._tools = tools
        self.threads = threads
        self._watch = watch
        self.in_use: dict[str, _InUse] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.accepting = False

    async def close(self) -> None:
        """Takes no more, and waits for those that run."""
        self.accepting = False
        while self.tasks:
            await asyncio.wait(set(self.tasks))

    async def alone(self, user: User, work: Callable[[UserDialogs], Awaitable[_R]]) -> _R:
        """Runs work on one user's dialogs to its end, alone, though the caller may be cancelled."""
        return await self.finished(self._alone(user, work))

    async def blocking(self, user: User, work: Callable[[UserDialogs], _R], *, making: bool = False) -> _R:
        """Runs what blocks on one user's dialogs: to its end, alone, on a thread, other nodes kept out.

        Args:
            user: Whose.
            work: It.
            making: Where the user has no folder it is made. For work that may change something.
        """
        return await self.alone(user, lambda dialogs: self.within(dialogs, work, making=making))

    async def within(
        self, dialogs: UserDialogs, work: Callable[[UserDialogs], _R], *, making: bool = False
    ) -> _R:
        """Runs what blocks on a thread, other nodes kept out; the caller is alone with the user's dialogs."""

        def held() -> _R:
            with dialogs.fence.held(making=making):
                return work(dialogs)

        return await patiently(self._tools.clock, dialogs.fence, lambda: self.threads.run(held))

    async def finished(self, work: Coroutine[Any, Any, _R]) -> _R:
        """Runs work to its end, though the caller may be cancelled.

        Raises:
            JournalUnavailableError: The journal is closed.
        """
        if not self.accepting:
            work.close()
            raise JournalUnavailableError("The journal is closed; nothing was kept.")
        task = asyncio.create_task(work, name="journal call")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return await asyncio.shield(task)

    async def looking(self, work: Callable[[], Awaitable[_R]]) -> _R:
        """Runs work that changes nothing, beside what others do; tells when the disk failed."""
        return await self.finished(self._looking(work))

    async def _looking(self, work: Callable[[], Awaitable[_R]]) -> _R:
        try:
            return await work()
        except JournalError as error:
            if self._watch is not None and isinstance(error.__cause__, OSError):
                self._watch.failed(error.__cause__)
            self._tell_fenced(error)
            raise

    def _tell_fenced(self, error: JournalError) -> None:
        if self._watch is not None and isinstance(error, FencedError) and error.token:
            self._watch.fenced(error.user_id, error.token)

    async def _alone(self, user: User, work: Callable[[UserDialogs], Awaitable[_R]]) -> _R:
        in_use = self.in_use.get(user.id)
        if in_use is None:
            in_use = self.in_use[user.id] = _InUse(UserDialogs(user.id, self._tools))
        in_use.calls += 1
        try:
            async with in_use.lock:
                return await self._watched(in_use.dialogs, work)
        finally:
            in_use.calls -= 1
            if in_use.calls == 0 and in_use.dialogs.idle:
                del self.in_use[user.id]

    async def _watched(self, dialogs: UserDialogs, work: Callable[[UserDialogs], Awaitable[_R]]) -> _R:
        """Runs work on one user's dialogs, and tells what that says of the disk."""
        dialogs.wrote = False
        cause: BaseException | None = None
        try:
            return await work(dialogs)
        except JournalError as error:
            cause = error.__cause__
            self._tell_fenced(error)
            raise
        finally:
            if self._watch is not None and dialogs.wrote:
                self._watch.wrote()
            if self._watch is not None and isinstance(cause, OSError):
                self._watch.failed(cause)  # whatever could be written before it
