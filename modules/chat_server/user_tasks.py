"""Owned tasks by the user whom they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from potoserver import ModuleContext, UnavailableError

_ENDS_WITHIN_S = 5.0


class UserTasks:
    """What goes on for each user, so that it can be ended when the user is at home elsewhere.

    Args:
        context: Owns the tasks.
    """

    def __init__(self, context: ModuleContext) -> None:
        self._context = context
        self._by_user: dict[str, set[asyncio.Task[Any]]] = {}

    def spawn(self, user_id: str, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts work about a user, as the context does."""
        task = self._context.spawn(work, name)
        self._by_user.setdefault(user_id, set()).add(task)
        task.add_done_callback(lambda task: self._done(user_id, task))
        return task

    @contextmanager
    def here(self, user_id: str) -> Iterator[None]:
        """What is inside is about a user, in the task that goes through it."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._by_user.setdefault(user_id, set()).add(task)
        try:
            yield
        finally:
            self._done(user_id, task)

    def _done(self, user_id: str, task: asyncio.Task[Any]) -> None:
        tasks = self._by_user[user_id]
        tasks.discard(task)
        if not tasks:
            del self._by_user[user_id]

    def cancel(self, user_id: str) -> None:
        """Ends what goes on for a user."""
        for task in self._by_user.get(user_id, ()):
            # Not before its first step: what it was given, such as a place in a lane, it has to give back.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def none_left(self, user_id: str) -> None:
        """Waits until what was cancelled has ended.

        Raises:
            UnavailableError: It does not.
        """
        tasks = self._by_user.get(user_id)
        if not tasks:
            return
        # In real time: what is waited for has been cancelled.
        _, late = await asyncio.wait(set(tasks), timeout=_ENDS_WITHIN_S)
        if late:
            raise UnavailableError("What was begun for you earlier does not end; try again in a moment.")
