"""How the connection is, in a few words below the prompt."""

from __future__ import annotations

import time
from collections.abc import Callable

from potoserver.client import Disconnected


class ConnectionState:
    """Follows the stream's ups and downs.

    Args:
        now_s: A clock for the countdown.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lost: Disconnected | None = None
        self._retry_at_s = 0.0

    def connected(self) -> None:
        """The stream is open."""
        self._lost = None

    def lost(self, event: Disconnected) -> bool:
        """The stream is not open. Returns whether it was, until now."""
        was_open = self._lost is None
        self._lost = event
        self._retry_at_s = self._now_s() + event.retry_in_s
        return was_open

    @property
    def style(self) -> str:
        """For the toolbar."""
        return "" if self._lost is None else "bg:ansiyellow fg:ansiblack"

    def words(self) -> str:
        """What there is to say."""
        if self._lost is None:
            return "connected"
        left_s = max(0, round(self._retry_at_s - self._now_s()))
        when = f"trying again in {left_s} s" if left_s else "trying again"
        return f"not connected ({self._lost.reason}), {when}"
