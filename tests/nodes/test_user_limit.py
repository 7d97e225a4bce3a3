"""`limits.connections_per_user` counts a user's event streams on all nodes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.nodes.support import two_servers
from tests.support.server import RunningServer, RunServer
from tests.support.sse import EventReader, open_stream


async def test_a_user_has_so_many_streams_on_all_nodes_together(
    tmp_path: Path, valkey_url: str, running_server: RunServer
) -> None:
    """However many ask at once, and on whichever node; who is refused may come again when one has ended."""
    limits = {"connections_per_user": 3}
    async with (
        two_servers(running_server, tmp_path, valkey_url, ([], []), 1000, limits=limits) as servers,
        AsyncExitStack() as stack,
    ):

        async def opened(server: RunningServer) -> tuple[EventReader, bool]:
            """A stream, and whether it is one that goes on."""
            stream = await open_stream(server.session, f"{server.url}/subscribe")
            stack.push_async_callback(stream.close)
            event = await stream.next()
            if event.type == "connected":
                return stream, True
            assert (event.type, event.data["reason"]) == ("unavailable", "too-many-connections-of-user")
            return stream, False

        streams = await asyncio.gather(*(opened(servers[number % 2]) for number in range(8)))
        taken = [stream for stream, goes_on in streams if goes_on]
        assert len(taken) == 3
        assert (await servers[0].core.engine.presence_of("a1")).connections == 3
        for server in servers:
            assert not (await opened(server))[1]
        await taken[0].close()
        while (await servers[0].core.engine.presence_of("a1")).connections == 3:
            await asyncio.sleep(0.01)
        assert (await opened(servers[1]))[1]
