"""Waiting until another node is out of a user's dialogs, without a thread that waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from potoserver import Clock

from .errors import HeldElsewhereError
from .fencing import Fence

HELD_WAIT_S: Final = 3.0
"""How long a call waits for another node, which is in for some milliseconds unless it stands still."""
HELD_PAUSE_S: Final = 0.05

_R = TypeVar("_R")


async def patiently(clock: Clock, fence: Fence, step: Callable[[], Awaitable[_R]]) -> _R:
    """Does a step that needs a user's dialogs, again and again while another node is in.

    The wait is counted from when that was first seen: calls that queue up meanwhile don't wait one each.

    Raises:
        HeldElsewhereError: It was in for too long.
    """
    while True:
        try:
            done = await step()
        except HeldElsewhereError:
            now_s = clock.monotonic_s()
            if fence.held_since_s is None:
                fence.held_since_s = now_s
            if now_s - fence.held_since_s >= HELD_WAIT_S:
                raise
        else:
            fence.held_since_s = None
            return done
        await clock.sleep(HELD_PAUSE_S)
