"""The life of a server: its start, and its stop within the limit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from potoserver import Departure, ServerModule, rpc
from potoserver.logs import Logs
from potoserver.server import PotoServer, StartError
from potoserver.settings.model import Settings
from tests.support.clock import ManualClock, settle
from tests.support.server import RunServer, log_lines
from tests.support.sse import open_stream, stream


class Told(ServerModule):
    """Writes down its life."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_start(self) -> None:
        self.told.append("start")

    async def on_stop(self) -> None:
        self.told.append("stop")

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self.told.append("disconnect")


class Broken(ServerModule):
    """Can't start."""

    async def on_start(self) -> None:
        raise RuntimeError("no luck")


async def test_a_module_that_cannot_start_stops_the_start_in_one_line(
    tmp_path: Path, running_server: RunServer
) -> None:
    """What had started is stopped again."""
    told = Told()
    with pytest.raises(StartError, match=r"^Broken could not start: no luck$"):
        async with running_server(tmp_path, [told, Broken()]):
            pytest.fail("it serves")
    assert told.told == ["start", "stop"]


async def test_a_stop_without_a_grace_makes_no_departure_for_stopped_modules(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Connections end after the modules have stopped; nothing is left undone by that."""
    told = Told()
    async with running_server(tmp_path, [told], presence={"grace_ms": 0}) as running:
        reader = await open_stream(running.session, f"{running.url}/subscribe")
        await reader.next("connected")
        assert await running.server.stop()
        await reader.end()
    assert told.told == ["start", "stop"]


async def test_the_parts_of_a_stop_fit_into_its_limit(tmp_path: Path, running_server: RunServer) -> None:
    """Also when a module's stop hangs and a call never ends: each gets its share, the sum is the limit."""

    class Hanging(ServerModule):
        async def on_stop(self) -> None:
            await asyncio.Event().wait()

        @rpc
        async def hang(self) -> None:
            await asyncio.Event().wait()

    clock = ManualClock()
    async with running_server(tmp_path, [Hanging()], clock=clock, shutdown_timeout_s=10) as running:
        call = asyncio.create_task(running.call("Hanging/hang"))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(running.server.stop())
        await settle()
        await clock.advance(8.25)  # what is left is for aiohttp and the loop
        await asyncio.wait([stopping], timeout=5)
        assert stopping.done()
        assert stopping.result() is False
        await call


async def test_a_module_that_exits_ends_no_server(tmp_path: Path, running_server: RunServer) -> None:
    """`sys.exit()` in a method or a hook is that module's failure."""

    class Quitting(ServerModule):
        async def on_sse_connect(self, user_id: str) -> None:
            sys.exit(3)

        @rpc
        async def leave(self) -> None:
            sys.exit(3)

    async with running_server(tmp_path, [Quitting()]) as running:
        async with stream(running.session, f"{running.url}/subscribe") as reader:
            await reader.next("connected")
        assert (await running.call("Quitting/leave"))[0] == 500
        assert (await running.call("Quitting/leave"))[0] == 500
    assert any(line["event"] == "hook failed" for line in log_lines(tmp_path))


async def test_a_modules_field_that_is_no_json_is_null(tmp_path: Path, running_server: RunServer) -> None:
    """In `connected`; `/health` leaves it out. Neither is broken by it."""

    class Unfit(ServerModule):
        connected_field_names: ClassVar[tuple[str, ...]] = ("unfit",)

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            return {"unfit": object()}

        async def health_fields(self) -> Mapping[str, Any]:
            return {"unfit": {1, 2}}

    async with running_server(tmp_path, [Unfit()]) as running:
        async with stream(running.session, f"{running.url}/subscribe") as reader:
            assert (await reader.next("connected")).data["unfit"] is None
        async with running.session.get(f"{running.url}/health") as answer:
            assert answer.status == 200
            assert "unfit" not in await answer.json()


async def test_a_start_that_hangs_ends_with_its_time(tmp_path: Path, running_server: RunServer) -> None:
    """One line names the module; its `hook_timeout_s` gives it more."""

    class Slow(ServerModule):
        hook_timeout_s = 60

        async def on_start(self) -> None:
            await asyncio.Event().wait()

    clock = ManualClock()

    async def start() -> None:
        async with running_server(tmp_path, [Slow()], clock=clock):
            pytest.fail("it serves")

    starting = asyncio.create_task(start())
    await asyncio.sleep(0.05)
    await clock.advance(59)
    assert not starting.done()
    await clock.advance(30)
    with pytest.raises(StartError, match="Slow could not start: on_start not done within 60 s"):
        await starting


def test_a_module_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Its constructor's error is the cause."""

    class Unmade(ServerModule):
        def __init__(self) -> None:
            raise ValueError("no luck")

    settings = Settings(data_dir=tmp_path)
    with pytest.raises(StartError, match="Unmade could not be made: ValueError"):
        PotoServer(settings, modules=[Unmade], logs=Logs(settings.log, None, terminal=None))
