"""What peers on aiohttp have in common: the ways to their streams and to their commands."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from aiohttp import web

from scripts.bench.side_by_side.commands import Audience, Command, obey

Subscribe = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(subscribe: Subscribe, audience: Audience) -> None:
    """Serves on the port that the command line names, until it is killed."""

    async def command(request: web.Request) -> web.Response:
        await obey(Command.of(await request.json()), audience)
        return web.Response()

    app = web.Application()
    app.router.add_get("/subscribe", subscribe)
    app.router.add_post("/command", command)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=1024)
