"""aiohttp-sse as its documentation shows it: a handler, a queue and a ping task per connection."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from aiohttp import web
from aiohttp_sse import sse_response

from scripts.bench.side_by_side.commands import EVENT, text_of
from scripts.bench.side_by_side.peers.base import PythonPeer
from scripts.bench.side_by_side.peers.on_aiohttp import Subscribe, serve


class AiohttpSsePeer(PythonPeer):
    """What most people would write."""

    name: ClassVar[str] = "aiohttp-sse"
    module: ClassVar[str] = __name__
    beats: ClassVar[bool] = True


class Queues:
    """All connections, by user."""

    def __init__(self) -> None:
        self.by_user: dict[str, set[asyncio.Queue[str]]] = {}

    async def tell(self, user_id: str, data: dict[str, Any]) -> None:
        text = text_of(data)
        for queue in self.by_user[user_id]:
            queue.put_nowait(text)

    async def tell_all(self, data: dict[str, Any]) -> None:
        text = text_of(data)
        for of_user in self.by_user.values():
            for queue in of_user:
                queue.put_nowait(text)


def subscribe_to(queues: Queues) -> Subscribe:
    async def subscribe(request: web.Request) -> web.StreamResponse:
        user_id = request.query["user"]
        async with sse_response(request) as response:
            queue: asyncio.Queue[str] = asyncio.Queue()
            of_user = queues.by_user.setdefault(user_id, set())
            of_user.add(queue)
            await response.send("{}", event="connected")
            try:
                while response.is_connected():
                    await response.send(await queue.get(), event=EVENT)
                    queue.task_done()
            finally:
                of_user.discard(queue)
        return response

    return subscribe


if __name__ == "__main__":
    queues = Queues()
    serve(subscribe_to(queues), queues)
