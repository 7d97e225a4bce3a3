"""The token that a client shows, and a new one when it has expired."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or what gives one: called at first use, and again when the server takes the latest no more."""


class Tokens:
    """Keeps the current token. Of many requests that one token failed for, only the first asks for a new one.

    Args:
        source: Where tokens come from; None to show none.
    """

    def __init__(self, source: TokenSource | None) -> None:
        self._source = source
        self._token = source if isinstance(source, str) else None
        self._lock = asyncio.Lock()

    async def current(self) -> str | None:
        """The token to show."""
        if self._token is None and self._source is not None:
            async with self._lock:
                if self._token is None:
                    self._token = await self._ask()
        return self._token

    async def renew(self, refused: str | None) -> bool:
        """Whether there is another token than the one that the server has just refused."""
        if self._source is None or isinstance(self._source, str):
            return False
        async with self._lock:
            if self._token == refused:
                self._token = await self._ask()
            return self._token != refused

    async def _ask(self) -> str | None:
        assert callable(self._source)
        given = self._source()
        return await given if inspect.isawaitable(given) else given
