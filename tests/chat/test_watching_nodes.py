"""What admins see of the sessions of two servers that share a Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver.engine.valkey.link import end
from tests.nodes.support import two_servers
from tests.support.engines import bear_stalls
from tests.support.server import RunningServer, RunServer
from tests.support.watching import watching

from .test_wire import CHAT

Servers = tuple[RunningServer, RunningServer]
WATCH = f"{CHAT}/watchSessions"


@pytest.fixture
async def servers(
    tmp_path: Path, valkey_url: str, running_server: RunServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Servers]:
    """Two servers on one Valkey; a1 talks on the first, admin on the second."""
    bear_stalls(monkeypatch)
    modules = ([ChatServerModule()], [ChatServerModule()])
    sections = {"chat": ChatSettings()}
    async with two_servers(running_server, tmp_path, valkey_url, modules, 1000, sections=sections) as servers:
        for server in servers:
            await server.core.engine.has_successor()  # each knows of the other
        for server, token in zip(servers, ("test-token", "admin-token"), strict=True):
            status, _ = await server.call(f"{CHAT}/chatWithHistory", {"message": "x"}, token=token)
            assert status == 200
        yield servers


async def asked(server: RunningServer, method: str, arguments: object = None) -> Any:
    status, answer = await server.call(f"{CHAT}/{method}", arguments, token="admin-token")
    assert status == 200, answer
    return answer


def places_of(servers: Servers) -> list[tuple[str, str]]:
    """Who talks where."""
    return [(user, server.core.engine.node_id) for user, server in zip(("a1", "admin"), servers, strict=True)]


async def test_sessions_are_counted_and_listed_over_all_nodes(servers: Servers) -> None:
    """From any node, in pages by user id, each with its node."""
    for server in servers:
        assert await asked(server, "getActiveSessionCount") == 2
        listed = await asked(server, "listSessions")
        assert [(each["userId"], each["node"]) for each in listed] == places_of(servers)
        (first,) = await asked(server, "listSessions", {"limit": 1})
        (second,) = await asked(server, "listSessions", {"limit": 1, "cursor": first["userId"]})
        assert [first["userId"], second["userId"]] == ["a1", "admin"]
        assert await asked(server, "listSessions", {"cursor": "admin"}) == []


async def test_sessions_of_all_nodes_are_watched_from_any(servers: Servers) -> None:
    """The first item has all, the next ones what has changed, wherever it was; each archive once."""
    for server in servers:
        async with watching(server, WATCH) as reader:
            item = (await reader.next("delta")).data
            assert (item["snapshot"], item["active"], item["silent"]) == (True, 2, [])
            assert sorted((each["userId"], each["node"]) for each in item["sessions"]) == places_of(servers)
        async with watching(server, WATCH, search="a1") as reader:
            item = (await reader.next("delta")).data
            assert [each["userId"] for each in item["sessions"]] == ["a1"]
    async with watching(servers[1], WATCH) as reader:
        (gone,) = [
            each["conversationId"]
            for each in (await reader.next("delta")).data["sessions"]
            if each["userId"] == "a1"
        ]
        assert (await servers[0].call(f"{CHAT}/endSession"))[0] == 200
        items = []
        while not items or gone not in items[-1]["gone"]:
            items.append((await reader.next("delta")).data)
        while not any(item["archived"] for item in items):
            items.append((await reader.next("delta")).data)
        (event,) = [event for item in items for event in item["archived"]]
        assert (event["userId"], event["reason"], event["messageCount"]) == ("a1", "request", 2)
        assert items[-1]["active"] == 1
        assert items[-1]["archiveSeconds"]["count"] == 1


async def test_a_node_that_does_not_answer_is_told_and_never_left_out_unsaid(servers: Servers) -> None:
    """Watching goes on without it, a list or a count that would be wrong is 503; it passes with its death."""
    engine = servers[0].core.engine
    async with watching(servers[1], WATCH) as reader:
        await reader.next("delta")
        await engine._channel.stop()  # it hears nothing any more, and renews still
        item = (await reader.next("delta")).data
        while not item["silent"]:
            item = (await reader.next("delta")).data
        assert (item["silent"], item["active"], len(item["gone"])) == ([engine.node_id], 1, 1)
        for method in ("listSessions", "getActiveSessionCount"):
            status, problem = await servers[1].call(f"{CHAT}/{method}", token="admin-token")
            assert (status, "does not answer" in problem["detail"]) == (503, True)
        await end(engine._life._tasks)
        while item["silent"]:
            item = (await reader.next("delta")).data
    assert await asked(servers[1], "getActiveSessionCount") == 1
    assert [each["userId"] for each in await asked(servers[1], "listSessions")] == ["admin"]
