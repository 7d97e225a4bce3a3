"""What an idle connection, its user and the user's session hold, object by object: docs/performance.md."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import jwt

from modules.chat_server import ChatServerModule
from modules.chat_server.settings import ChatSettings
from tests.support.server import RunningServer, RunServer

SECRET = "a secret of thirty-two bytes or more"
USERS = 100
WARM = 60
"""Connect before, twice: with some of the first ones a beat of the heartbeat has its first connection."""
LIMIT_S = 20.0

HELD = {
    "TransportStream": 1,
    "Subscription": 1,
    "Connection": 1,
    "EventId": 1,
    "_Here": 1,
    "Session": 1,
    "Moment": 1,
    "Conversation": 1,
    # asyncio's transport, which a bare protocol has too: its facts, its two callbacks, its place in the loop
    "_SelectorSocketTransport": 1,
    "TransportSocket": 1,
    "dict": 1,
    "method": 2,
    "Handle": 1,
    # also those of a hook's timers that were called off, which asyncio clears away some time later
    "Context": 2,
    "SelectorKey": 1,
    "KeyedRef": 1,
    "tuple": 2,
    # the server's socket and the test's
    "socket": 2,
}
"""The objects of each that Python's collector knows. None of it is a task, a timer, a set or a function."""


async def connect(running: RunningServer, name: str, expires_s: int) -> socket.socket:
    """A user's event stream, opened, on a bare socket."""
    token = jwt.encode({"sub": name, "exp": expires_s}, SECRET, algorithm="HS256")
    address = urlsplit(running.url)
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, (str(address.hostname), int(address.port or 0)))
    head = f"GET /subscribe HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    await loop.sock_sendall(sock, head.encode())
    received = b""
    while b"event: connected" not in received:
        data = await asyncio.wait_for(loop.sock_recv(sock, 65_536), LIMIT_S)
        assert data, received
        received += data
    return sock


async def census(running: RunningServer) -> Counter[str]:
    """How many objects there are of each type, once nothing is under way any more."""
    async with asyncio.timeout(LIMIT_S):
        while len(running.core.tasks):
            await asyncio.sleep(0.01)
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if not _is_called_off(each))


def _is_called_off(each: object) -> bool:
    return isinstance(each, asyncio.TimerHandle) and each.cancelled()


async def test_an_idle_connection_holds_what_is_counted_for_it_and_nothing_else(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Of distinct users whose tokens expire, with sessions; what it costs is told in docs/performance.md."""
    expires_s = int(time.time()) + 3600
    async with running_server(
        tmp_path,
        [ChatServerModule()],
        sections={"chat": ChatSettings()},
        auth={"jwt_secret": SECRET},
    ) as running:
        socks = []
        for warm in range(2):  # what comes once, such as a cache of a class's, counts for none
            socks += [await connect(running, f"w{warm}-{number}", expires_s) for number in range(WARM)]
            before = await census(running)
        socks += [await connect(running, f"u{number}", expires_s) for number in range(USERS)]
        after = await census(running)
        for sock in socks:
            sock.close()
    held = {name: round((count - before[name]) / USERS, 1) for name, count in after.items()}
    more = {name: each for name, each in held.items() if each > HELD.get(name, 0) + 0.2}
    assert more == {}
    assert {name: held[name] for name in ("TransportStream", "Subscription", "Session")} == {
        "TransportStream": 1,
        "Subscription": 1,
        "Session": 1,
    }
