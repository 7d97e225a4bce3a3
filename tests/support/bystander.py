"""A user who minds their own business while others push a server to its limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import aiohttp

from tests.support.process import ServerProcess, chat
from tests.support.sse import open_stream

CALLS_ALONE = 15
_PAUSE_S = 0.02


class Bystander:
    """Talks all the time, with an event stream open; each call must succeed.

    Args:
        server: Where.
        token: Whose.
    """

    def __init__(self, server: ServerProcess, token: str) -> None:
        self._server = server
        self._token = token
        self._session = aiohttp.ClientSession()
        self.seconds: list[float] = []
        self.said: list[str] = []
        self._has_said_enough = False

    async def say(self) -> float:
        """Says something on the connection that is open; returns what it took, in seconds."""
        text = f"bystander {len(self.said)}"
        begun_s = time.perf_counter()
        answer = await chat(self._session, self._server.url, text, self._token)
        assert answer["reply"] == text
        self.said.append(text)
        return time.perf_counter() - begun_s

    async def keep_talking(self) -> None:
        """Until it has said enough."""
        while not self._has_said_enough:
            self.seconds.append(await self.say())
            await asyncio.sleep(_PAUSE_S)

    def say_no_more(self) -> None:
        """What it is saying is the last, and is answered: no message is kept that it does not know of."""
        self._has_said_enough = True

    async def close(self) -> None:
        """Goes."""
        await self._session.close()


@asynccontextmanager
async def bystander(server: ServerProcess, what: str, token: str = "admin-token") -> AsyncIterator[Bystander]:
    """A bystander for the length of a block, at whose end their calls are compared with those before."""
    user = Bystander(server, token)
    async with aiohttp.ClientSession() as session:
        reader = await open_stream(session, f"{server.url}/subscribe", token)
        await reader.next("connected")
        await user.say()
        alone_s = [await user.say() for _ in range(CALLS_ALONE)]
        talking = asyncio.create_task(user.keep_talking())
        try:
            yield user
            while len(user.seconds) < CALLS_ALONE and not talking.done():
                await asyncio.sleep(_PAUSE_S)
            user.say_no_more()
            await talking
            assert not reader.ended.is_set(), "the bystander's stream was cut"
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            await user.close()
            await reader.close()
    before_ms, during_ms, most_ms = (
        each * 1000 for each in (median(alone_s), median(user.seconds), max(user.seconds))
    )
    print(
        f"{what}: a bystander's call takes {during_ms / before_ms:.1f} times what it took before "
        f"({before_ms:.1f} ms), at most {most_ms:.0f} ms, of {len(user.seconds)}"
    )
