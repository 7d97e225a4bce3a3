"""The module Operations on two servers that share a Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from modules.operations import Operations
from potoserver import Departure, ServerModule
from potoserver.engine.valkey.link import end
from tests.nodes.support import two_servers
from tests.support.engines import bear_stalls
from tests.support.server import RunningServer, RunServer, log_lines
from tests.support.sse import EventReader, open_stream
from tests.support.watching import watching

Servers = tuple[RunningServer, RunningServer]
View = dict[str, Any]
WATCH = "Operations/watch"


class Stubborn(ServerModule):
    """Never takes a departure."""

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        raise RuntimeError("it won't")


@pytest.fixture
async def servers(
    tmp_path: Path, valkey_url: str, running_server: RunServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Servers]:
    """Two servers on one Valkey."""
    bear_stalls(monkeypatch)
    modules = ([Operations(), Stubborn()], [Operations(), Stubborn()])
    async with two_servers(running_server, tmp_path, valkey_url, modules, 200) as servers:
        for server in servers:
            await server.core.engine.has_successor()  # each knows of the other
        yield servers


async def until(reader: EventReader, shows: Callable[[View], bool]) -> View:
    """The first view that shows it."""
    while True:
        view: View = (await reader.next("delta")).data
        if shows(view):
            return view


def ids_of(servers: Servers) -> list[str]:
    return [server.core.engine.node_id for server in servers]


async def test_an_admin_sees_all_nodes_from_any_of_them(servers: Servers) -> None:
    """Each row that is about one says which; what is counted is counted over all."""
    one, two = ids_of(servers)
    first = await open_stream(servers[0].session, f"{servers[0].url}/subscribe")
    second = await open_stream(servers[1].session, f"{servers[1].url}/subscribe", "admin-token")
    connections = [(await stream.next("connected")).data["connection"] for stream in (first, second)]
    servers[0].core.alarms.set("disk-full")
    servers[1].core.alarms.set("disk-full")
    for server in servers:
        async with watching(server, WATCH) as reader:
            view = await until(reader, lambda view: view["online"] == 2 and len(view["nodes"]) == 2)
            assert view["connectionCount"] == 2
            rows = {(each["id"], each["node"]) for each in view["connections"]}
            assert rows == set(zip(connections, (one, two), strict=True))
            assert [each["id"] for each in view["nodes"]] == sorted((one, two))
            for each in view["nodes"]:
                assert (each["answers"], each["draining"], each["connections"]) == (True, False, 1)
                assert each["startedAt"] >= view["startedAt"]
            alarms = {(each["name"], each["node"]) for each in view["alarms"]}
            assert alarms == {("disk-full", one), ("disk-full", two)}
        async with watching(server, WATCH, search=connections[0], limit=1) as reader:
            view = (await reader.next("delta")).data
            assert [each["id"] for each in view["connections"]] == [connections[0]]
    async with watching(servers[1], WATCH) as reader:
        await first.close()
        view = await until(reader, lambda view: view["hooks"]["failingCount"] == 1)
        (failing,) = view["hooks"]["failing"]
        assert (failing["module"], failing["userId"], failing["node"] in (one, two)) == (
            "Stubborn",
            "a1",
            True,
        )
    await second.close()


async def test_a_connection_is_dropped_from_whichever_node(servers: Servers, tmp_path: Path) -> None:
    """Once; the node that held it has the line in its log, with who asked."""
    stream = await open_stream(servers[0].session, f"{servers[0].url}/subscribe")
    connection = {"connection": (await stream.next("connected")).data["connection"]}
    for dropped in (True, False):
        answer = await servers[1].call("Operations/dropConnection", connection, token="admin-token")
        assert answer == (200, {"dropped": dropped})
    await stream.end()
    assert (await servers[1].call("Operations/dropConnection", connection))[0] == 403
    await servers[0].server.stop()
    servers[0].core.logs.stop()
    lines = [line for line in log_lines(tmp_path / "a") if "dropped by operator" in line["event"]]
    assert [(line["operator"], line["user"]) for line in lines] == [("admin", "a1")]


async def test_a_node_that_stops_is_seen_to_go(servers: Servers) -> None:
    """Told from one that does not answer, whose rows are not known; a dead one is taken out."""
    one, two = ids_of(servers)
    stream = await open_stream(servers[0].session, f"{servers[0].url}/subscribe")
    await stream.next("connected")
    async with watching(servers[1], WATCH) as reader:
        await until(reader, lambda view: len(view["nodes"]) == 2 and len(view["connections"]) == 1)
        servers[0].core.draining = True
        view = await until(reader, lambda view: any(each["draining"] for each in view["nodes"]))
        assert {each["id"]: each["draining"] for each in view["nodes"]} == {one: True, two: False}
        assert view["draining"] is False
        engine = servers[0].core.engine
        await engine._channel.stop()  # it hears nothing any more, and renews still
        view = await until(reader, lambda view: not all(each["answers"] for each in view["nodes"]))
        assert {each["id"]: each["answers"] for each in view["nodes"]} == {one: False, two: True}
        assert view["connections"] == []
        status, problem = await servers[1].call(
            "Operations/dropConnection", {"connection": "c-1"}, token="admin-token"
        )
        assert (status, "does not answer" in problem["detail"]) == (503, True)
        await end(engine._life._tasks)
        view = await until(reader, lambda view: len(view["nodes"]) == 1)
        assert view["nodes"][0]["id"] == two
    await stream.close()


async def test_an_engine_that_is_away_leaves_what_the_node_knows_itself(servers: Servers) -> None:
    """An operator needs the page then more than ever."""
    stream = await open_stream(servers[0].session, f"{servers[0].url}/subscribe")
    await stream.next("connected")
    async with watching(servers[0], WATCH) as reader:
        await until(reader, lambda view: view["online"] == 1)
        life = servers[0].core.engine._life
        await end([*life._tasks, *life._under_way])  # a renewal would find that it is there
        servers[0].core.engine._link.trouble = "cut off"
        view = await until(reader, lambda view: view["online"] is None)
        assert (view["leavingCount"], view["leaving"]) == (None, [])
        assert [each["userId"] for each in view["connections"]] == ["a1"]
        servers[0].core.engine._link.trouble = None
        await until(reader, lambda view: view["online"] == 1)
    await stream.close()
