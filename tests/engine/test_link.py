"""The way to Valkey by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import redis
import structlog

from potoserver.engine.valkey.link import Link
from potoserver.errors import UnavailableError


async def test_what_connects_while_it_is_closed_is_closed_too(valkey_url: str) -> None:
    """At whatever step of it the close comes."""
    looking = redis.Redis(port=int(valkey_url.rpartition(":")[2]))
    before = len(looking.client_list())
    links = []
    for steps in range(25):
        link = Link(valkey_url, structlog.get_logger("engine"))
        links.append(link)  # or who cleans up may close it
        await link.open()
        await link._drop_idle()
        asking = asyncio.create_task(link.commands([("PING",)]))
        for _ in range(steps):
            await asyncio.sleep(0)
        await link.close()
        with suppress(UnavailableError):
            await asking
    async with asyncio.timeout(10):
        while len(looking.client_list()) > before:
            await asyncio.sleep(0.05)
    looking.close()
