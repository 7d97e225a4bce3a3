"""An admin who watches: the stream of an endless call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.server import RunningServer
from tests.support.sse import EventReader


@asynccontextmanager
async def watching(server: RunningServer, method: str, **arguments: Any) -> AsyncIterator[EventReader]:
    """Follows an endless method (`Operations/watch`) for the length of a block."""
    response = await server.session.post(
        f"{server.url}/{method}",
        json=arguments,
        headers={"Authorization": "Bearer admin-token", "Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None),
    )
    assert response.status == 200, await response.text()
    reader = EventReader(response)
    try:
        yield reader
    finally:
        await reader.close()
