"""A module that raises, hangs or is slow harms itself alone."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import BUSY_S, CHECKOUT, ServerProcess, chat, patient
from tests.support.sse import open_stream, stream

pytestmark = pytest.mark.process

ROGUE = '["chat_server", "tests.process.rogues:Rogue"]'
ROGUE_FIRST = '["tests.process.rogues:Rogue", "chat_server"]'
HOOKS = (
    "on_sse_connect on_sse_disconnect on_connection_opened on_connection_closed "
    "connected_fields health_fields"
)
FIELDS_LIMIT_S = 1.0
"""What `connected` may wait for a module's fields."""


def _calls(server: ServerProcess, hook: str) -> list[dict[str, object]]:
    return [line for line in server.log_lines() if line["event"] == "rogue called" and line["hook"] == hook]


async def _visit(server: ServerProcess, http: aiohttp.ClientSession, limit_s: float) -> object:
    """Comes, says something, goes; `connected` and the archive must be in time. Returns the rogue's field."""
    began_s = time.monotonic()
    reader = await open_stream(http, f"{server.url}/subscribe")
    connected = (await reader.next("connected")).data
    assert time.monotonic() - began_s < limit_s + BUSY_S
    await chat(http, server.url, "Hello")
    before = len(server.archives())
    began_s = time.monotonic()
    await reader.close()
    await saved.until_archived(server.data_dir / "users" / "a1", before + 1)
    assert time.monotonic() - began_s < 0.2 + BUSY_S
    return connected["rogue"]


@pytest.mark.parametrize("manner", ["raises", "hangs"])
@pytest.mark.parametrize("modules", [ROGUE, ROGUE_FIRST], ids=["after-chat", "before-chat"])
async def test_a_failing_module_neither_delays_connected_nor_the_archive_and_its_departure_is_parked(
    start_server: StartServer, http: aiohttp.ClientSession, manner: str, modules: str
) -> None:
    """In every hook at once; its own departure is repeated with one id, at the end parked and reported."""
    server = await start_server(
        POTO_MODULES=modules,
        ROGUE_MANNER=manner,
        ROGUE_HOOKS=HOOKS,
        SESSION_RECONNECT_GRACE="200",
        POTO_HOOKS__TIMEOUT_S="0.3",
        POTO_HOOKS__RETRY_FOR_S="5",
    )
    assert await _visit(server, http, FIELDS_LIMIT_S) is None
    [parked] = await server.until_logged("departure parked")
    assert (parked["level"], parked["module"], parked["user"]) == ("error", "Rogue", "a1")
    [archived] = server.logged("dialog archived")
    assert archived["timestamp"] < parked["timestamp"]
    tries = _calls(server, "on_sse_disconnect")
    assert len(tries) >= 3
    assert {line["departure"] for line in tries} == {parked["departure"]}
    failed = [line for line in server.log_lines() if line["event"] == "hook failed"]
    assert {line["hook"] for line in failed} >= {*HOOKS.split()} - {"health_fields"}
    assert {line["logger"] for line in failed} == {"module:Rogue"}
    began_s = time.monotonic()
    health = await (await http.get(f"{server.url}/health")).json()
    assert time.monotonic() - began_s < FIELDS_LIMIT_S + BUSY_S
    assert health["status"] == "healthy"
    assert 1 in [value for key, value in health.items() if "parked" in key.lower()], health
    metrics = await (await http.get(f"{server.url}/metrics")).text()
    assert 'potoserver_hooks_parked_total{module="Rogue"} 1.0' in metrics
    assert 'potoserver_hook_failures_total{hook="on_sse_disconnect",module="Rogue"}' in metrics
    # The parked departure holds up nothing that comes later.
    assert await _visit(server, http, FIELDS_LIMIT_S) is None
    later = await server.until_logged("departure parked", 2)
    assert later[1]["departure"] != parked["departure"]
    assert await server.stop() == 0


async def test_a_slow_module_is_waited_for_by_nobody_and_done_once(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Slow within its time is no failure: each hook is called once, and its field is in `connected`."""
    server = await start_server(
        POTO_MODULES=patient("chat_server", "tests.process.rogues:Rogue"),
        ROGUE_MANNER="slow",
        ROGUE_HOOKS=HOOKS,
        SESSION_RECONNECT_GRACE="200",
    )
    assert await _visit(server, http, FIELDS_LIMIT_S) == "well"
    await server.until_logged("rogue called", 5)
    assert await server.stop() == 0
    assert [line for line in server.log_lines() if line["event"] == "hook failed"] == []
    for hook in set(HOOKS.split()) - {"health_fields"}:
        assert len(_calls(server, hook)) == 1, hook


async def test_a_module_that_clings_to_its_hooks_harms_nobody_else(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """It even swallows its cancellation: visits are archived all the same, the exit is within its limit."""
    server = await start_server(
        POTO_MODULES=ROGUE,
        ROGUE_MANNER="clings",
        ROGUE_HOOKS=HOOKS,
        SESSION_RECONNECT_GRACE="200",
        POTO_HOOKS__TIMEOUT_S="0.3",
        POTO_SHUTDOWN_TIMEOUT_S="4",
    )
    for _ in range(2):
        assert await _visit(server, http, 1.5 * FIELDS_LIMIT_S) is None
    health = await (await http.get(f"{server.url}/health")).json()
    assert health["status"] == "healthy"
    began_s = time.monotonic()
    assert await server.stop() == 1, "its departures are left undone"
    assert time.monotonic() - began_s < 4 + BUSY_S


@pytest.mark.parametrize("manner", ["raises", "hangs", "clings"])
@pytest.mark.parametrize("modules", [ROGUE, ROGUE_FIRST], ids=["after-chat", "before-chat"])
async def test_a_module_that_fails_to_stop_keeps_no_dialog_from_its_archive(
    start_server: StartServer, http: aiohttp.ClientSession, manner: str, modules: str
) -> None:
    """The open dialog is archived with reason `shutdown` in time; the exit status tells of the rest."""
    server = await start_server(
        POTO_MODULES=modules, ROGUE_MANNER=manner, ROGUE_HOOKS="on_stop", POTO_SHUTDOWN_TIMEOUT_S="8"
    )
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        await chat(http, server.url, "Hello")
        began_s = time.monotonic()
        assert await server.stop() == 1
        assert time.monotonic() - began_s < 8 + BUSY_S
        assert (await reader.next("shutdown")).data
    [archive] = server.archives()
    assert saved.load(archive).fields["reason"] == "shutdown"


async def test_a_module_that_can_not_start_stops_the_start_with_its_cause(
    start_server: StartServer, tmp_path: Path
) -> None:
    """The exit status is not 0, the last line names the module and what it raised."""
    environment = {"POTO_MODULES": ROGUE, "ROGUE_MANNER": "raises", "ROGUE_HOOKS": "on_start"}
    server = await ServerProcess(tmp_path, environment=environment).launch()
    assert await server.wait() == 1
    assert "Rogue" in server.output
    assert "a rogue's own failure" in server.output
    assert "Traceback" not in server.output


PLUGIN = """
from potoserver import ServerModule, User, rpc


class Greeter(ServerModule):
    @rpc
    async def greet(self, user: User, their_name: str) -> str:
        return f"{user.id} greets {their_name}"

    async def on_sse_disconnect(self, user_id, departure):
        raise RuntimeError("always")
"""


async def test_a_plugin_in_a_folder_beside_the_shipped_chat_is_loaded_and_its_failure_is_its_own(
    start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A folder of modules of the deployment's own, the chat linked into it."""
    folder = tmp_path / "my modules"
    folder.mkdir()
    (folder / "chat_server").symlink_to(CHECKOUT / "modules" / "chat_server")
    (folder / "greeter.py").write_text(PLUGIN)
    server = await start_server(
        POTO_MODULES_DIR=str(folder),
        SESSION_RECONNECT_GRACE="200",
        POTO_HOOKS__RETRY_FOR_S="0.1",
    )
    greeted = await http.post(
        f"{server.url}/Greeter/greet",
        json={"theirName": "b"},
        headers={"Authorization": "Bearer test-token"},
    )
    assert (greeted.status, await greeted.json()) == (200, "a1 greets b")
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        await chat(http, server.url, "Hello")
    await saved.until_archived(server.data_dir / "users" / "a1")
    await server.until_logged("departure parked")
    assert await server.stop() == 0


async def test_a_plugin_that_can_not_be_imported_stops_the_start_in_one_line(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Exit status 2, the plugin's name and the cause; the traceback is for debug."""
    folder = tmp_path / "my modules"
    folder.mkdir()
    (folder / "broken.py").write_text("import no_such_thing_anywhere\n")
    server = await ServerProcess(tmp_path, environment={"POTO_MODULES_DIR": str(folder)}).launch()
    assert await server.wait() == 2
    [line] = server.output.splitlines()
    assert "broken" in line
    assert "no_such_thing_anywhere" in line
