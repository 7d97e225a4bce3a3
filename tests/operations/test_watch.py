"""The module Operations, called as the page calls it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modules.operations import Operations
from potoserver import Departure, ServerModule
from tests.support.clock import ManualClock, settle
from tests.support.server import RunningServer, RunServer, log_lines
from tests.support.sse import open_stream
from tests.support.waiting import until
from tests.support.watching import watching

WATCH = "Operations/watch"


class Stubborn(ServerModule):
    """Never takes a departure."""

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        raise RuntimeError("it won't")


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, operations: Operations, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    limits = {"calls_per_minute": 0}
    hooks = {"retry_for_s": 5}
    modules = [operations, Stubborn()]
    async with running_server(tmp_path, modules, clock=clock, limits=limits, hooks=hooks) as running:
        yield running


async def test_an_admin_sees_the_server_at_once_and_again_when_it_has_changed(
    running: RunningServer, clock: ManualClock
) -> None:
    """Who comes, who is in the grace and until when, and what a module does not take."""
    async with watching(running, WATCH) as reader:
        view = (await reader.next("delta")).data
        assert (view["online"], view["connectionCount"], view["connections"]) == (0, 0, [])
        assert (view["events"], view["alarms"], view["draining"]) == (None, [], False)
        (node,) = view["nodes"]
        assert (node["pid"], node["answers"], node["connections"]) == (os.getpid(), True, 0)
        assert view["startedAt"] <= view["at"]
        stream = await open_stream(running.session, f"{running.url}/subscribe", lease="60")
        connected = await stream.next("connected")
        await clock.advance(1)
        view = (await reader.next("delta")).data
        assert (view["online"], view["connectionCount"]) == (1, 1)
        (row,) = view["connections"]
        assert (row["id"], row["userId"], row["leaseS"]) == (connected.data["connection"], "a1", 60)
        assert (row["lastEventId"], row["node"]) == (connected.id, None)
        await stream.close()
        await until(lambda: not running.core.subscriptions.count_of("a1"))
        await settle()
        await clock.advance(1)
        view = (await reader.next("delta")).data
        assert (view["online"], view["leavingCount"]) == (0, 1)
        (leaving,) = view["leaving"]
        assert (leaving["userId"], leaving["until"] > view["at"]) == ("a1", True)
        await clock.advance(5)
        while not view["hooks"]["failingCount"]:
            view = (await reader.next("delta")).data
        (failing,) = view["hooks"]["failing"]
        assert (failing["module"], failing["userId"]) == ("Stubborn", "a1")
        assert failing["error"] == """RuntimeError("it won't")"""
        await clock.advance(10)
        while not view["hooks"]["parkedCount"]:
            view = (await reader.next("delta")).data
        (parked,) = view["hooks"]["parked"]
        assert (parked["module"], parked["why"]) == ("Stubborn", "not taken within 5 s")


async def test_many_connections_are_shown_in_part_and_found(
    running: RunningServer, clock: ManualClock
) -> None:
    """As many as asked for, and the count of all; a search is told apart from its neighbours' limit."""
    readers = [
        await open_stream(running.session, f"{running.url}/subscribe", token)
        for token in ("test-token", "admin-token", "admin-token")
    ]
    for reader in readers:
        await reader.next("connected")
    async with watching(running, WATCH, limit=1) as one, watching(running, WATCH, search="a1") as found:
        view = (await one.next("delta")).data
        assert (len(view["connections"]), view["connectionCount"]) == (1, 3)
        view = (await found.next("delta")).data
        assert ([each["userId"] for each in view["connections"]], view["connectionCount"]) == (["a1"], 3)
    for arguments, field in (({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"search": 1}, "search")):
        status, problem = await running.call("Operations/watch", arguments, token="admin-token")
        assert (status, [each["field"] for each in problem["errors"]]) == (422, [field])
    for reader in readers:
        await reader.close()


async def test_several_admins_cost_one_look_a_second(
    running: RunningServer, operations: Operations, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none when they have gone."""
    looks: list[str] = []
    count_leaving = operations.context.oversight.count_leaving

    async def counted() -> int:
        looks.append("look")
        return await count_leaving()

    monkeypatch.setattr(operations.context.oversight, "count_leaving", counted)
    async with (
        watching(running, WATCH) as first,
        watching(running, WATCH) as second,
        watching(running, WATCH) as third,
    ):
        for reader in (first, second, third):
            await reader.next("delta")
        await clock.advance(3)
        assert 3 <= len(looks) <= 4
    async with watching(running, WATCH):
        pass
    await until(lambda: not operations._views._views)
    await clock.advance(2)
    seen = len(looks)
    await clock.advance(30)
    assert len(looks) == seen


async def test_a_dropped_connection_has_gone_and_its_client_may_come_back(
    running: RunningServer, clock: ManualClock
) -> None:
    """Whoever drops it is told whether it was there."""
    stream = await open_stream(running.session, f"{running.url}/subscribe")
    connection = (await stream.next("connected")).data["connection"]
    call = "Operations/dropConnection"
    assert await running.call(call, {"connection": connection}, token="admin-token") == (
        200,
        {"dropped": True},
    )
    await stream.end()
    assert await running.call(call, {"connection": connection}, token="admin-token") == (
        200,
        {"dropped": False},
    )
    again = await open_stream(running.session, f"{running.url}/subscribe")
    assert (await again.next("connected")).data["resumed"] is True
    await again.close()


async def test_the_log_names_who_dropped_whose_connection(tmp_path: Path, running_server: RunServer) -> None:
    """Once; where there was nothing to drop, nothing is said."""
    async with running_server(tmp_path, [Operations()]) as running:
        stream = await open_stream(running.session, f"{running.url}/subscribe")
        connection = (await stream.next("connected")).data["connection"]
        for _ in range(2):
            await running.call("Operations/dropConnection", {"connection": connection}, token="admin-token")
    (line,) = [each for each in log_lines(tmp_path) if each["event"] == "SSE connection dropped by operator"]
    told = {key: line[key] for key in ("level", "logger", "operator", "user", "connection")}
    assert told == {
        "level": "info",
        "logger": "module:Operations",
        "operator": "admin",
        "user": "a1",
        "connection": connection,
    }


@pytest.mark.parametrize("method", ["watch", "dropConnection"])
async def test_it_is_for_admins_alone(running: RunningServer, method: str) -> None:
    """Others learn nothing and drop nobody."""
    arguments = {"connection": "c-1"} if method == "dropConnection" else {}
    status, problem = await running.call(f"Operations/{method}", arguments)
    assert (status, problem["detail"]) == (403, "This needs the role admin.")
