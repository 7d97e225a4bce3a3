"""Starlette with sse-starlette on uvicorn: an async generator that reads a queue, per connection."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from scripts.bench.side_by_side.commands import EVENT, Command, obey
from scripts.bench.side_by_side.peers.aiohttp_sse import Queues
from scripts.bench.side_by_side.peers.base import PythonPeer


class StarlettePeer(PythonPeer):
    """What those would write who use FastAPI."""

    name: ClassVar[str] = "sse-starlette"
    module: ClassVar[str] = __name__
    needs: ClassVar[str | None] = "sse_starlette"
    beats: ClassVar[bool] = True


def app_of(queues: Queues) -> Any:
    # Not above: only this peer's own process, and the benchmark's environment, have them.
    from sse_starlette import EventSourceResponse  # noqa: PLC0415
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def events(user_id: str) -> AsyncIterator[dict[str, str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        of_user = queues.by_user.setdefault(user_id, set())
        of_user.add(queue)
        try:
            yield {"event": "connected", "data": "{}"}
            while True:
                yield {"event": EVENT, "data": await queue.get()}
        finally:
            of_user.discard(queue)

    async def subscribe(request: Any) -> Any:
        return EventSourceResponse(events(request.query_params["user"]))

    async def command(request: Any) -> Any:
        await obey(Command.of(await request.json()), queues)
        return Response()

    return Starlette(
        routes=[
            Route("/subscribe", subscribe),
            Route("/command", command, methods=["POST"]),
        ]
    )


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app_of(Queues()), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False
    )
