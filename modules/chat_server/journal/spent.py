"""How much of the processor's time the journal's threads have spent for one of its callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(slots=True)
class Spent:
    """What was spent so far, in seconds. Waiting, for a turn or for the disk, is not in it."""

    seconds: float = 0.0


_COUNTED: Final[ContextVar[Spent | None]] = ContextVar("spent", default=None)


@contextmanager
def counting() -> Iterator[Spent]:
    """Counts what the calls of a journal inside the block spend."""
    before, spent = _COUNTED.get(), Spent()
    _COUNTED.set(spent)
    try:
        yield spent
    finally:
        _COUNTED.set(before)


def spend(seconds: float) -> None:
    """Adds to what is being counted, where somebody counts."""
    spent = _COUNTED.get()
    if spent is not None:
        spent.seconds += seconds


def counted(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Calls a function on a thread, in a copy of its caller's context, and spends what it takes."""
    begun_s = time.thread_time()
    try:
        return function(*args, **kwargs)
    finally:
        spend(time.thread_time() - begun_s)
