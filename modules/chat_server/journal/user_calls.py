"""Calls on users' dialogs: each runs to its end, and those of one user one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from potoserver import User

from ..lanes import Lanes, Ticket
from .batches import Batches, Steps, tell
from .errors import FencedError, HeldElsewhereError, JournalError, JournalUnavailableError
from .patience import patiently
from .threads import Threads
from .tools import DiskWatch, Tools
from .user_dialogs import UserDialogs

_R = TypeVar("_R")


class UserCalls:
    """Runs each call as a task of its own, so that it finishes whoever asked for it.

    What a thread does in one go needs no task: whoever sees to it `enter`s, and leaves when it is done.

    Args:
        tools: What all users' dialogs share.
        threads: Where what blocks runs.
        watch: Told how the disk does.

    Attributes:
        in_use: What is known of users' open dialogs, and of those that somebody uses. Only who is in touches
            them.
        tasks: The calls that run.
        threads: Where what blocks runs.
        accepting: Whether further ones are taken.
    """

    def __init__(self, tools: Tools, threads: Threads, watch: DiskWatch | None) -> None:
        self._tools = tools
        self.threads = threads
        self._watch = watch
        self._lanes = Lanes()
        self.in_use: dict[str, UserDialogs] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.accepting = False

    async def close(self) -> None:
        """Takes no more, and waits for those that run."""
        self.accepting = False
        while self._lanes.users:
            await asyncio.gather(*map(self._none_in, self._lanes.users))
        while self.tasks:
            await asyncio.wait(set(self.tasks))

    async def _none_in(self, user_id: str) -> None:
        async with self._lanes.join(user_id):
            pass

    async def alone(self, user: User, work: Callable[[UserDialogs], Awaitable[_R]]) -> _R:
        """Runs work on one user's dialogs to its end, alone, though the caller may be cancelled.

        Raises:
            JournalUnavailableError: The journal is closed.
        """
        self._check_accepting()
        if user.id not in self.in_use:
            self.in_use[user.id] = UserDialogs(user.id, self._tools)
        return await asyncio.shield(self.start(self.inside(user.id, self._lanes.join(user.id), work)))

    def nobody_in(self, user_id: str) -> UserDialogs | None:
        """The user's dialogs, where something is known of them and nobody uses them or waits for that."""
        if not self.accepting or self._lanes.length(user_id):
            return None
        return self.in_use.get(user_id)

    def enter(self, user_id: str) -> Ticket:
        """Keeps others from the dialogs that `nobody_in` gave until `leave`, which the caller sees to."""
        self.in_use[user_id].wrote = False
        return self._lanes.join(user_id)

    def leave(self, user_id: str, ticket: Ticket, error: BaseException | None = None) -> None:
        """Lets the next one in, and tells what this one's work says of the disk.

        Args:
            user_id: Whose dialogs were used.
            ticket: As it was given.
            error: What the work has raised.
        """
        dialogs = self.in_use[user_id]
        self._lanes.leave(user_id, ticket)
        if not self._lanes.length(user_id) and dialogs.idle:
            del self.in_use[user_id]
        if self._watch is None:
            return
        if dialogs.wrote:
            self._watch.wrote()
        if isinstance(error, JournalError):
            self._tell(error)  # whatever could be written before it

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

    async def in_steps(self, user: User, batches: Batches, work: Callable[[UserDialogs], Steps[_R]]) -> _R:
        """Runs work on one user's dialogs together with that of others: to its end, alone.

        The work keeps other nodes out. Where nobody is in before it, it needs no task.
        """

        def patient(own: UserDialogs) -> Awaitable[_R]:
            return patiently(self._tools.clock, own.fence, lambda: batches.run(work(own)))

        user_id = user.id
        dialogs = self.nobody_in(user_id)
        if dialogs is None:
            return await self.alone(user, patient)
        ticket = self.enter(user_id)
        done: asyncio.Future[_R] = asyncio.get_running_loop().create_future()

        def told(outcome: _R | BaseException) -> None:
            if isinstance(outcome, HeldElsewhereError):
                self.go_on(user_id, ticket, patient, done)
                return
            self.leave(user_id, ticket, outcome if isinstance(outcome, BaseException) else None)
            tell(done, outcome)

        batches.put(work(dialogs), told)
        return await done

    def go_on(
        self,
        user_id: str,
        ticket: Ticket,
        work: Callable[[UserDialogs], Awaitable[_R]],
        done: asyncio.Future[_R],
    ) -> None:
        """Runs what could not be done in one go as a task after all, and leaves then.

        Args:
            user_id: Whose dialogs were entered.
            ticket: As it was given.
            work: It.
            done: Gets what comes of it.
        """
        self.start(self.inside(user_id, ticket, work)).add_done_callback(
            lambda task: tell(done, task.exception() or task.result())
        )

    def _check_accepting(self) -> None:
        if not self.accepting:
            raise JournalUnavailableError("The journal is closed; nothing was kept.")

    def start(self, work: Coroutine[Any, Any, _R]) -> asyncio.Task[_R]:
        """Runs work to its end, though who awaits it, shielded, may be cancelled."""
        task = asyncio.create_task(work, name="journal call")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def looking(self, work: Callable[[], Awaitable[_R]]) -> _R:
        """Runs work that changes nothing, beside what others do; tells when the disk failed."""
        self._check_accepting()
        return await asyncio.shield(self.start(self._looking(work)))

    async def _looking(self, work: Callable[[], Awaitable[_R]]) -> _R:
        try:
            return await work()
        except JournalError as error:
            self._tell(error)
            raise

    async def inside(self, user_id: str, ticket: Ticket, work: Callable[[UserDialogs], Awaitable[_R]]) -> _R:
        """Runs work on one user's dialogs when the ticket's turn has come, and leaves."""
        await ticket.__aenter__()
        dialogs = self.in_use[user_id]
        dialogs.wrote = False
        failure: BaseException | None = None
        try:
            return await work(dialogs)
        except BaseException as error:
            failure = error
            raise
        finally:
            self.leave(user_id, ticket, failure)

    def _tell(self, error: JournalError) -> None:
        """Tells what a failure says of the disk, or of other nodes."""
        if self._watch is None:
            return
        if isinstance(error.__cause__, OSError):
            self._watch.failed(error.__cause__)
        if isinstance(error, FencedError) and error.token:
            self._watch.fenced(error.user_id, error.token)
