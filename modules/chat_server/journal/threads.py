"""Threads on which the journal does what blocks."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .spent import counted

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Threads:
    """Some threads; what more calls there are wait.

    Args:
        count: How many.
        name: What they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Calls a function on one of them; what it takes of the processor counts for who asks."""
        call = functools.partial(counted, function, *args, **kwargs)
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)

    def close(self) -> None:
        """Waits for what runs, and ends them. Blocking."""
        self._pool.shutdown()
