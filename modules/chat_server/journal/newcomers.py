"""Tells those users apart of whom nothing is on disk: many at one look."""

from __future__ import annotations

import asyncio
from functools import partial

from .disk import Disk
from .layout import Layout
from .threads import Threads
from .tools import journal_errors
from .user_calls import UserCalls

_Asked = tuple[str, asyncio.Future[bool]]
"""A user, and who waits to be told."""


class Newcomers:
    """Looks for users' folders. While one look goes on, those who ask next gather for the next one.

    So when thousands connect who have never been here, a thread is called for many of them, and nothing
    else is made for each.

    Args:
        disk: The system calls.
        layout: Where things lie.
        calls: Own the looks.
        threads: Where they are made.
    """

    def __init__(self, disk: Disk, layout: Layout, calls: UserCalls, threads: Threads) -> None:
        self._disk = disk
        self._layout = layout
        self._calls = calls
        self._threads = threads
        self._gathered: list[_Asked] = []
        self._next: asyncio.Task[frozenset[str]] | None = None
        """The look that has not begun yet."""
        self._looking = asyncio.Lock()

    async def has_folder(self, user_id: str) -> bool:
        """Whether a folder of the user's is there, or anything else of that name.

        Raises:
            JournalUnavailableError: The disk refused, or the journal is closed.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._calls.looking(self._look), name="look for users' folders")
            self._next.add_done_callback(partial(self._looked, self._gathered))
        # One for each: the end of the look would have to be shielded from whoever goes, for twice as much.
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._gathered.append((user_id, answer))
        return await answer

    async def _look(self) -> frozenset[str]:
        async with self._looking:
            asked, self._gathered, self._next = self._gathered, [], None
            return await self._threads.run(self._found, {user_id for user_id, _ in asked})

    def _looked(self, asked: list[_Asked], task: asyncio.Task[frozenset[str]]) -> None:
        """Tells those who have waited for a look and are still there."""
        if self._next is task:  # it ended before it began: the journal is closed
            self._gathered, self._next = [], None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        for user_id, answer in asked:
            if answer.done():
                continue
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(user_id in task.result())

    def _found(self, user_ids: set[str]) -> frozenset[str]:
        with journal_errors(failing="The dialogs can't be read at the moment."):
            folders = {user_id: self._layout.folder(user_id) for user_id in user_ids}
            return frozenset(each for each, path in folders.items() if self._disk.find(path) is not None)
