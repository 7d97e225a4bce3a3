"""`potoserver sessions`: who talks now, once and live, in a terminal and without one."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime

import aiohttp
import pytest
from rich.console import Console

from modules.chat_server.commands.sessions import Board
from tests.process.conftest import StartServer
from tests.support.commands import potoserver
from tests.support.process import ServerProcess, chat, server_environment, tokens_of
from tests.support.screen import screen_of
from tests.support.sse import stream

pytestmark = pytest.mark.process


async def test_the_sessions_in_a_table_and_as_json(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """A line each; without any it says so."""
    server = await start_server()
    assert potoserver("sessions", "--url", server.url, cwd=server.folder).stdout == "no sessions\n"
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        await chat(http, server.url, "from an admin", "admin-token")
        done = potoserver("sessions", "--url", server.url, cwd=server.folder)
        assert done.returncode == 0
        first, second = (line.split() for line in done.stdout.splitlines()[1:])
        assert (first[0], first[5], second[0], second[5]) == ("a1", "1", "admin", "0")
        done = potoserver("sessions", "--json", "--url", server.url, cwd=server.folder)
        assert [json.loads(line)["userId"] for line in done.stdout.splitlines()] == ["a1", "admin"]


async def test_the_sessions_live_through_a_restart_of_the_server(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Who comes, what a session waits for, what was archived; a server that goes is waited for."""
    server = await start_server(SESSION_RECONNECT_GRACE="6000")
    with screen_of("sessions", "--watch", "--url", server.url, cwd=server.folder) as screen:
        screen.until("0 active")
        async with stream(http, f"{server.url}/subscribe") as reader:
            await reader.next("connected")
            screen.until("\na1 ", "1 active")
            await chat(http, server.url, "hello")
        screen.until("\na1 ", "grace, ")
        screen.until("archived 20", " of a1: disconnect, closed", "0 active")
        await server.stop()
        screen.until("not connected, trying again: ")
        await server.start()
        await chat(http, server.url, "again")
        screen.until("\na1 ", "1 active")
        assert "not connected" not in screen.text
        screen.child.sendintr()
        assert screen.end() == 130
        assert "Traceback" not in screen.raw


async def test_live_as_json_each_item_is_a_line(start_server: StartServer) -> None:
    """Until the reader has had enough; that ends it quietly."""
    server = await start_server()
    process = begin_watch(server, "--json")
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        item = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert (item["snapshot"], item["sessions"]) == (True, [])
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 60) == 130
        assert process.stderr.read() == b""


def begin_watch(server: ServerProcess, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "potoserver", "sessions", "--watch", "--url", server.url, *arguments],
        cwd=server.folder,
        env=server_environment({"POTO_TOKEN": "admin-token"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
    )


async def test_what_keeps_one_from_seeing_sessions_is_one_line(start_server: StartServer) -> None:
    """No admin, a wrong token, no server, a server with tokens of its own; once and live."""
    server = await start_server(**tokens_of(["bob"]))
    for flags in ([], ["--watch"]):
        for wrong, words in (
            (["--url", server.url, "--token", "t-bob"], "403 Forbidden: This needs the role admin."),
            (["--url", server.url, "--token", "wrong"], "the server does not take this token: 401"),
            (
                ["--url", server.url],
                "the server has tokens of its own: give yours with --token or POTO_TOKEN",
            ),
            (["--url", "http://localhost:1"], "http://localhost:1 can't be reached: "),
        ):
            done = potoserver("sessions", *flags, *wrong, cwd=server.folder)
            assert (done.returncode, done.stdout) == (1, ""), wrong
            assert words in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr


def test_the_board_keeps_what_did_not_change_and_drops_what_is_gone() -> None:
    """A snapshot replaces all; texts from outside can't command the terminal."""
    at = datetime.now(UTC).isoformat()

    def session(user_id: str) -> dict[str, object]:
        return {
            "userId": user_id,
            "conversationId": f"c-{user_id}",
            "startedAt": at,
            "lastActivity": at,
            "connections": None,
            "waitingFor": None,
            "waitingUntil": None,
            "isActive": True,
        }

    def item(*users: str, snapshot: bool = False, gone: tuple[str, ...] = ()) -> dict[str, object]:
        return {
            "snapshot": snapshot,
            "at": at,
            "active": 2,
            "sessions": [session(each) for each in users],
            "gone": gone,
            "archived": [],
            "rates": None,
        }

    def shown(board: Board) -> list[str]:
        text = printed(board)
        assert "\x1b[2J" not in text
        return [line.split()[0] for line in text.splitlines()[1:] if "c-" in line]

    board = Board()
    board.take(item("b", "a\x1b[2J", snapshot=True))
    board.take(item("c", gone=("c-b",)))
    assert shown(board) == [r"a\x1b[2J", "c"]
    board.take(item("d", snapshot=True))
    assert shown(board) == ["d"]


def test_of_several_nodes_each_session_says_which_it_is_on() -> None:
    """And those that do not answer are told of; with one node alone there is no such column."""
    now = datetime.now(UTC).isoformat()
    session = {
        "userId": "a1",
        "conversationId": "c-1",
        "startedAt": now,
        "lastActivity": now,
        "connections": 1,
        "waitingFor": None,
        "waitingUntil": None,
        "isActive": True,
    }
    item = {"snapshot": True, "at": now, "active": 1, "gone": [], "archived": [], "rates": None}
    board = Board()
    board.take(item | {"sessions": [session | {"node": None}], "silent": []})
    assert "node" not in printed(board)
    board.take(item | {"sessions": [session | {"node": "n-1"}], "silent": ["n-2"]})
    text = printed(board)
    assert text.splitlines()[0].split()[-1] == "node"
    assert text.splitlines()[1].split()[-1] == "n-1"
    assert "1 node does not answer: sessions are missing here" in text


def printed(board: Board) -> str:
    """What a terminal shows of it, without colours."""
    console = Console(width=120, force_terminal=True)
    with console.capture() as shown:
        console.print(board.render())
    return re.sub(r"\x1b\[[\d;]*m", "", shown.get())
