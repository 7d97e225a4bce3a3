"""What a new user does first: curl, a message, Ctrl+C, and the archive is there."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.process.conftest import StartServer
from tests.support.curl import Curl, curl
from tests.support.nginx import needs_nginx, running_nginx
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.sse import parse_events

pytestmark = pytest.mark.process

SUBSCRIBE = 'curl -H "Authorization: Bearer test-token" http://localhost:3799/subscribe'
SUBSCRIBE_N = (
    'curl -N -H "Accept: text/event-stream" -H "Authorization: Bearer test-token" '
    "http://localhost:3799/subscribe"
)
CHAT = """
curl -X POST http://localhost:3799/ChatServerModule/chatWithHistory \
  -H "Authorization: Bearer test-token" \
  -H "Content-Type: application/json" \
  -d '{"message": "Test message", "jsonOutput": false, "reasoningEnabled": false}'
"""
STREAMED_CHAT = """
curl -N -X POST http://localhost:3799/ChatServerModule/chatWithHistory \
  -H "Authorization: Bearer test-token" -H "Accept: text/event-stream" \
  -H "Content-Type: application/json" -d '{"message": "one two three four five"}'
"""
WHOLE_LIFE = [
    "SSE subscribed",
    "session started",
    "session activity updated",
    "session message added to dialogue journal",
    "SSE disconnect detected",
    "session ended",
    "conversation archived",
    "dialog archived",
]
NOTICED_S = 5.0
"""How soon a client's going counts as noticed at once; a heartbeat would take 15 s."""

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def at(command: str, port: int) -> str:
    """The command for the port that is really used."""
    return command.replace(":3799/", f":{port}/")


def seconds(timestamp: str) -> float:
    """Wall seconds of a log line's or a dialog's timestamp."""
    return datetime.fromisoformat(timestamp).timestamp()


def grep(pattern: str, file: Path) -> list[dict[str, Any]]:
    """What grep finds in the log."""
    found = subprocess.run(["grep", pattern, file], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in found.splitlines()]


def only(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    """The one line of that event."""
    found = [line for line in lines if line["event"] == event]
    assert len(found) == 1, f"{event}: {found}"
    return found[0]


async def talk_and_leave(server: ServerProcess, port: int, subscribe: str) -> float:
    """The walk-through: subscribes, says something, presses Ctrl+C; returns when that was."""
    async with Curl(at(subscribe, port)) as subscriber:
        await subscriber.until("event: connected")
        answer = json.loads(await curl(at(CHAT, port)))
        assert answer["reply"] == "Test message"
        assert set(answer) == {"conversationId", "messageId", "reply", "reasoning", "finishReason"}
        await subscriber.until("event: message", count=2)
        opened = yaml.safe_load(server.current().read_bytes())
        assert opened["conversation"] == answer["conversationId"]
        assert [message["content"] for message in opened["messages"]] == ["Test message"] * 2
        assert "ended" not in opened
        pressed_s = await subscriber.interrupt()
    await server.until_logged("dialog archived")
    return pressed_s


def check_archive_and_log(server: ServerProcess, grace_ms: int) -> list[dict[str, Any]]:
    """The archive is there and `current.yaml` empty; returns what grep shows, every line of it there."""
    [archive] = server.archives()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.yaml", archive.name)
    dialog = yaml.safe_load(archive.read_bytes())
    assert dialog["user"] == "a1"
    assert [(each["role"], each["content"]) for each in dialog["messages"]] == [
        ("user", "Test message"),
        ("assistant", "Test message"),
    ]
    assert (dialog["reason"], dialog["message_count"]) == ("disconnect", 2)
    assert archive.stem == f"{datetime.fromisoformat(dialog['ended']):%Y-%m-%d-%H-%M-%S}"
    assert server.current().stat().st_size == 0
    assert server.open_marks() == []

    lines = grep(r"SSE\|session\|archive", server.log_file)
    shown = [line["event"] for line in lines]
    for event in WHOLE_LIFE:
        assert event in shown
    assert shown.count("session message added to dialogue journal") == 2
    ours = [line for line in lines if line["event"] in WHOLE_LIFE]
    assert {line["level"] for line in ours} == {"info"}
    first_shown = sorted(WHOLE_LIFE[:-1], key=shown.index)
    assert first_shown.index("session started") < first_shown.index("session activity updated")
    assert first_shown[-3:] == ["SSE disconnect detected", "session ended", "conversation archived"]
    drop = only(lines, "SSE disconnect detected")
    assert drop["cause"] in ("closed", "reset")
    assert drop["grace_ms"] == grace_ms
    assert only(lines, "session ended")["reason"] == "disconnect"
    assert only(lines, "conversation archived")["archive"] == archive.stem
    assert {line["user"] for line in ours if "user" in line} == {"a1"}
    return lines


@needs_curl
@pytest.mark.parametrize("subscribe", [SUBSCRIBE, SUBSCRIBE_N], ids=["plain", "unbuffered"])
async def test_the_walk_through_with_the_default_configuration(
    start_server: StartServer, subscribe: str
) -> None:
    """Curl in, a message, Ctrl+C: after the grace the archive is there, and grep shows the whole life."""
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 3799))
        server = await start_server(port=None)  # not a flag, not a variable, no file: the defaults
    except (OSError, AssertionError) as failed:
        assert isinstance(failed, OSError) or "can't listen on localhost port 3799" in str(failed)
        server = await start_server(PORT=str(free_port()), port=None)  # another one is at home there
    else:
        assert server.port == 3799

    pressed_s = await talk_and_leave(server, server.port, subscribe)

    lines = check_archive_and_log(server, grace_ms=5000)
    dropped_s = seconds(only(lines, "SSE disconnect detected")["timestamp"])
    ended_s = seconds(only(lines, "session ended")["timestamp"])
    assert dropped_s - pressed_s < NOTICED_S
    assert 4.99 <= ended_s - dropped_s < 15


@needs_curl
async def test_without_a_grace_the_archive_is_there_within_200_ms(
    start_server: StartServer, tmp_path: Path
) -> None:
    """With SESSION_RECONNECT_GRACE=0 a disconnect is followed by the archive within 200 ms."""
    took_s = []
    while not took_s or (min(took_s) >= 0.2 and len(took_s) < 5):  # a machine that stands still tells nothing
        server = await start_server(folder=tmp_path / str(len(took_s)), SESSION_RECONNECT_GRACE="0")

        await talk_and_leave(server, server.port, SUBSCRIBE)

        lines = check_archive_and_log(server, grace_ms=0)
        dropped_s = seconds(only(lines, "SSE disconnect detected")["timestamp"])
        archived_s = seconds(only(lines, "conversation archived")["timestamp"])
        assert archived_s >= dropped_s
        took_s.append(max(archived_s, server.archives()[0].stat().st_mtime) - dropped_s)
    assert min(took_s) < 0.2, took_s


@needs_curl
async def test_message_text_and_tokens_are_never_logged(start_server: StartServer) -> None:
    """Neither what was said nor a token is logged, with every debug line on."""
    server = await start_server(SESSION_RECONNECT_GRACE="0", DEBUG="*", DEBUG_SSE="true")

    await talk_and_leave(server, server.port, SUBSCRIBE)
    await server.stop()

    assert only(server.log_lines(), "dialog archived")
    assert [line for line in server.log_lines() if line["event"].startswith("SSE event")]
    assert "Test message" not in server.log_file.read_text()
    assert "Test message" not in server.output
    assert "test-token" not in server.log_file.read_text()
    assert "test-token" not in server.output[server.output.index("serving") :]  # the greeting shows it


@needs_curl
@needs_nginx
async def test_the_walk_through_behind_nginx(start_server: StartServer, tmp_path: Path) -> None:
    """With deploy/nginx.conf between them Ctrl+C is noticed at once and the archive is the same."""
    server = await start_server(SESSION_RECONNECT_GRACE="300")
    async with running_nginx(tmp_path, server.port) as port:
        pressed_s = await talk_and_leave(server, port, SUBSCRIBE)

    lines = check_archive_and_log(server, grace_ms=300)
    assert seconds(only(lines, "SSE disconnect detected")["timestamp"]) - pressed_s < NOTICED_S


@needs_curl
@needs_nginx
async def test_nginx_says_unavailable_while_the_server_is_away(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Behind nginx a restart is told as an event too, never as a status on which a browser gives up.

    Any other call gets a problem document that says when to come back.
    """
    server = await start_server()
    async with running_nginx(tmp_path, server.port) as port:
        await server.stop()
        refused = await curl(at(f"{CHAT} -i", port))
        told = await curl(at(f"{SUBSCRIBE_N} -i", port))
        head, _, body = refused.replace("\r\n", "\n").partition("\n\n")
        assert " 503 " in head.splitlines()[0]
        assert "Content-Type: application/problem+json" in head
        assert "Retry-After: 2" in head
        problem = json.loads(body)
        assert (problem["title"], problem["status"]) == ("Service Unavailable", 503)
        assert f"X-Request-ID: {problem['requestId']}" in head
        head, _, body = told.replace("\r\n", "\n").partition("\n\n")
        assert " 200 " in head.splitlines()[0]
        assert "Content-Type: text/event-stream" in head
        [event] = parse_events(body.encode())
        assert (event.type, event.retry_ms) == ("unavailable", event.data["retryAfterMs"])
        await server.start()
        async with Curl(at(SUBSCRIBE_N, port)) as subscriber:
            await subscriber.until("event: connected")


@needs_curl
@needs_nginx
async def test_nginx_passes_on_request_ids_and_who_the_client_is(
    start_server: StartServer, tmp_path: Path
) -> None:
    """A client keeps its own request id; one from elsewhere gets nowhere with a development token."""
    server = await start_server()
    async with running_nginx(tmp_path, server.port) as port:
        health = f"curl -i http://localhost:{port}/health"
        given = await curl(f"{health} -H 'X-Request-ID: mine-1'")
        assert "X-Request-ID: mine-1" in given
        for sent in ("", "-H 'X-Request-ID: a b'"):
            assert re.search(r"X-Request-ID: [0-9a-f]{32}\r?\n", await curl(f"{health} {sent}"))
        elsewhere = await curl(f"{health} -H 'X-Forwarded-For: 192.0.2.1'")
        assert " 403 " in elsewhere.splitlines()[0]


@needs_curl
@needs_nginx
async def test_events_pass_nginx_one_by_one(start_server: StartServer, tmp_path: Path) -> None:
    """Behind nginx each event comes as it is made: to the subscriber, and in a streamed reply."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="1000")
    async with (
        running_nginx(tmp_path, server.port) as port,
        Curl(at(SUBSCRIBE_N, port)) as subscriber,
    ):
        await subscriber.until("event: connected")
        async with Curl(at(STREAMED_CHAT, port)) as caller:
            question_s = await subscriber.until("event: message")
            told_s = await subscriber.until("event: delta")
            first_s = await caller.until("event: delta")
            done_s = await caller.until("event: done")
        answered_s = await subscriber.until("event: message", count=2)
    assert caller.output.count("event: delta") == 5
    # Five words, 200 ms each: what came first must have come long before the end.
    assert done_s - first_s > 0.5
    assert answered_s - told_s > 0.5
    assert answered_s - question_s > 0.7
