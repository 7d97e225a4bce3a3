"""Hooks about a user on two servers that share a Valkey: those of a homed module run at the user's home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from potoserver import Cause, Connection, Departure, ServerModule, rpc
from tests.nodes.support import two_servers
from tests.support.server import RunningServer, RunServer
from tests.support.sse import stream

LIMIT_S = 20.0


class Told(ServerModule):
    """What a module of one node was told."""

    connected_field_names = ("told",)

    def __init__(self) -> None:
        self.hooks: list[tuple[Any, ...]] = []
        self.failures = 0
        self._changed = asyncio.Event()

    def _note(self, *hook: Any) -> None:
        self.hooks.append(hook)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @rpc
    async def stay(self) -> None:
        """Makes this node the caller's home."""

    async def on_sse_connect(self, user_id: str) -> None:
        self._note("connect", user_id)

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self._note("disconnect", user_id, departure)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not now")

    async def on_connection_opened(self, connection: Connection) -> None:
        self._note("opened", connection)

    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        self._note("closed", connection, cause)

    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        return {"told": [user_id, len(self.hooks)]}

    def names(self) -> list[str]:
        return [hook[0] for hook in self.hooks]


class Homed(Told):
    """The same, at the user's home."""

    homed = True


class Anywhere(Told):
    """The same, where things happen."""

    connected_field_names = ("anywhere",)

    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        return {"anywhere": len(self.hooks)}


class Pair:
    """Two servers; the first is a1's home, and a1 connects to the second."""

    def __init__(
        self,
        servers: tuple[RunningServer, RunningServer],
        modules: tuple[tuple[Homed, Anywhere], tuple[Homed, Anywhere]],
    ) -> None:
        self.home, self.other = servers
        (self.at_home, self.anywhere_at_home), (self.homed_elsewhere, self.anywhere) = modules


@pytest.fixture
async def pair(tmp_path: Path, valkey_url: str, running_server: RunServer) -> AsyncIterator[Pair]:
    """Two servers on one Valkey, with a grace of 200 ms."""
    modules = ((Homed(), Anywhere()), (Homed(), Anywhere()))
    async with two_servers(running_server, tmp_path, valkey_url, modules, 200) as servers:
        assert await servers[0].call("Homed/stay") == (200, None)
        yield Pair(servers, modules)


async def test_a_homed_modules_hooks_come_to_the_home_and_others_where_things_happen(pair: Pair) -> None:
    """Connect, each connection, its end with the cause, and the departure; each once."""
    async with stream(pair.other.session, f"{pair.other.url}/subscribe") as reader:
        connected = await reader.next("connected")
        assert connected.data["told"][0] == "a1"
        assert connected.data["anywhere"] is not None
        await pair.at_home.until(lambda: {"connect", "opened"} <= set(pair.at_home.names()))
    await pair.at_home.until(lambda: {"closed", "disconnect"} <= set(pair.at_home.names()))
    assert sorted(pair.at_home.names()) == ["closed", "connect", "disconnect", "opened"]
    told = {hook[0]: hook[1:] for hook in pair.at_home.hooks}
    (connection, cause), (user_id, departure) = told["closed"], told["disconnect"]
    assert (connection.id, connection.user_id) == (connected.data["connection"], "a1")
    assert isinstance(cause, Cause)
    assert (user_id, departure.user_id, departure.cause) == ("a1", "a1", cause)
    assert told["opened"] == (connection,)
    assert pair.homed_elsewhere.hooks == []
    anywhere = pair.anywhere.names() + pair.anywhere_at_home.names()
    assert sorted(anywhere) == ["closed", "connect", "disconnect", "opened"]
    assert {"closed", "connect", "opened"} <= set(pair.anywhere.names())


async def test_a_hook_that_fails_at_the_home_is_repeated_with_the_same_departure(pair: Pair) -> None:
    """As on one node."""
    pair.at_home.failures = 1
    async with stream(pair.other.session, f"{pair.other.url}/subscribe") as reader:
        await reader.next("connected")
    await pair.at_home.until(lambda: pair.at_home.names().count("disconnect") == 2)
    first, second = (hook[2] for hook in pair.at_home.hooks if hook[0] == "disconnect")
    assert first == second
