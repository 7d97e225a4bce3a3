"""Clients whose packets are lost in silence: noticed within the bound that docs/protocol.md states.

Where the machine lets nobody make a network namespace these are skipped, and say so. What runs anywhere is
the proxy in test_leases.py that swallows everything: it shows the bound of a lease, not that without one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.network import NEAR, Network, NoNamespacesError
from tests.faults.readers import RawSubscriber
from tests.support.process import BUSY_S, ServerProcess, chat, tokens_of
from tests.support.sse import EventReader, open_stream

pytestmark = pytest.mark.process

TICK_S = 1.0
"""Beside the two settings: a tick of the heartbeat, twice at most."""
GRACE_MS = 500


@pytest.fixture
def network() -> Any:
    try:
        with Network() as network:
            yield network
    except NoNamespacesError as error:
        pytest.skip(f"this machine lets nobody make a network namespace: {error}")


class Hosts:
    """A server on the near host, and clients on the far one.

    Attributes:
        near: Calls that no drop concerns.
        far: Calls and streams over the router.
    """

    def __init__(self, network: Network, server: ServerProcess) -> None:
        self.network = network
        self.server = server
        self.url = f"http://{NEAR}:{server.port}"
        self.near = _session(network.near_socket)
        self.far = _session(network.far_socket)
        self.dropped_s = 0.0

    async def close(self) -> None:
        await self.near.close()
        await self.far.close()

    async def subscribe(self, user: str) -> EventReader:
        reader = await open_stream(self.far, f"{self.url}/subscribe", f"t-{user}")
        await reader.next("connected")
        return reader

    async def noticed_after_s(self, user: str, limit_s: float) -> float:
        """When the user's connection was found dead, from the drop on."""
        (line,) = await self.server.until_logged(
            "SSE disconnect detected", limit_s=limit_s, user=user, cause="unreachable"
        )
        return _seconds(line) - self.dropped_s


def _session(make: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, socket_factory=lambda _address: make())
    return aiohttp.ClientSession(connector=connector)


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@pytest.fixture
async def hosts(network: Network, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Hosts]:
    environment = tokens_of(["idle", "busy", "behind", "caller", "other"]) | {
        "HOST": NEAR,
        "SESSION_RECONNECT_GRACE": str(GRACE_MS),
        "POTO_LIMITS__CONNECTIONS_PER_USER": "0",
        "POTO_CHAT__ECHO__DELAY_MS": "50",
        "POTO_BACKLOG__BYTES": "8000000",
    }
    environment |= getattr(request, "param", {})
    async with ServerProcess(tmp_path, environment=environment, prefix=network.enter_near) as server:
        hosts = Hosts(network, server)
        try:
            yield hosts
        finally:
            await hosts.close()
            print(server.output)


async def lose(hosts: Hosts, bound_s: float) -> None:
    """Drops all packets while three users are in different states; each is noticed within the bound."""
    readers = [await hosts.subscribe("idle"), await hosts.subscribe("busy")]
    said = await chat(hosts.near, hosts.url, "before the drop", "t-idle")
    # One is in the middle of a large replay: it reads, but so slowly that its window is closed.
    opening = await RawSubscriber.open(
        hosts.server.port, "t-behind", host=NEAR, sock=hosts.network.far_socket()
    )
    await opening.read_until(b"event: connected")
    first_id = opening.last_id
    opening.close()
    await hosts.server.until_logged("SSE disconnect detected", user="behind")
    for number in range(3):
        await chat(hosts.near, hosts.url, f"{number}" * 900_000, "t-behind")
    behind = await RawSubscriber.open(
        hosts.server.port, "t-behind", host=NEAR, sock=hosts.network.far_socket(), last_event_id=first_id
    )
    for _ in range(50):
        assert await behind.read(4000)
    # And one is told of a reply that grows, so that bytes are always on their way.
    text = " ".join(["word"] * int(20 * (bound_s + 5)))
    talking = asyncio.create_task(chat(hosts.near, hosts.url, text, "t-busy"))
    await readers[1].next("delta")

    hosts.network.drop()
    hosts.dropped_s = time.time()
    port = readers[1].response.connection.transport.get_extra_info("sockname")[1]
    noticed = dict(
        zip(
            ("idle", "busy", "behind"),
            await asyncio.gather(
                *(hosts.noticed_after_s(user, bound_s + 10) for user in ("idle", "busy", "behind")),
                tries_again(hosts, port),
            ),
            strict=False,
        )
    )
    print("noticed after", {user: f"{after_s:.1f} s" for user, after_s in noticed.items()})
    assert max(noticed.values()) <= bound_s + TICK_S + BUSY_S
    # The grace begins when the drop was noticed, and the session ends as after any other drop.
    await hosts.server.until_logged("dialog archived", user="idle", conversation=said["conversationId"])
    (dialog,) = hosts.server.dialogs("idle")
    assert dialog["reason"] == "disconnect"
    (ended,) = hosts.server.logged("session ended", user="idle")
    assert 0 <= _seconds(ended) - hosts.dropped_s - noticed["idle"] - GRACE_MS / 1000 < 5
    talking.cancel()
    await asyncio.wait([talking])
    behind.close()
    for reader in readers:
        await reader.close()


async def tries_again(hosts: Hosts, port: int) -> None:
    """The server's kernel hears neither an answer nor an error: it sends the same again and again."""
    async with asyncio.timeout(10):
        while await asyncio.to_thread(hosts.network.backoff, port) < 2:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "hosts", [{"POTO_HEARTBEAT_S": "1", "POTO_SEND_TIMEOUT_S": "6"}], indirect=True, ids=["1 s + 6 s"]
)
async def test_a_client_whose_packets_are_dropped_is_gone_within_the_bound(hosts: Hosts) -> None:
    """`heartbeat_s` + `send_timeout_s`, idle, with bytes on their way, and in the middle of a replay."""
    await lose(hosts, 7)


async def drop_callers(hosts: Hosts) -> None:
    """Drops all packets while one caller reads a streamed reply and another waits for a whole one."""
    text = " ".join(f"word-{number}" for number in range(30))
    url = f"{hosts.url}/ChatServerModule/chatWithHistory"
    streaming = await hosts.far.post(
        url,
        json={"message": text},
        headers={"Authorization": "Bearer t-caller", "Accept": "text/event-stream"},
    )
    assert await streaming.content.readuntil(b"\n\n")
    waiting = asyncio.create_task(chat(hosts.far, hosts.url, text, "t-other"))
    await hosts.server.until_logged("session message added to dialogue journal", user="other", role="user")

    hosts.network.drop()
    assert await asyncio.to_thread(hosts.network.established) == 2
    for user in ("caller", "other"):
        await hosts.server.until_logged(
            "session message added to dialogue journal", user=user, role="assistant"
        )
        headers = {"Authorization": f"Bearer t-{user}"}
        async with hosts.near.post(
            f"{hosts.url}/ChatServerModule/getConversation", headers=headers
        ) as answer:
            assert [each["content"] for each in (await answer.json())["messages"]] == [text, text]
    waiting.cancel()
    await asyncio.wait([waiting])
    streaming.close()


async def test_a_caller_whose_packets_are_dropped_loses_no_reply(hosts: Hosts) -> None:
    """Streamed or not, it is finished and kept whole."""
    await drop_callers(hosts)


@pytest.mark.long
async def test_the_sockets_of_such_callers_are_closed_when_they_have_been_idle(hosts: Hosts) -> None:
    """After 75 s, as any connection is that brings no next request."""
    await drop_callers(hosts)
    began_s = time.time()
    async with asyncio.timeout(90):
        while await asyncio.to_thread(hosts.network.established):
            await asyncio.sleep(0.5)
    print(f"sockets gone {time.time() - began_s:.1f} s after the replies were written")
    assert time.time() - began_s <= 75 + 5


FOLLOWED_HEARTBEAT_S, FOLLOWED_SEND_TIMEOUT_S = 1, 2


@pytest.mark.parametrize(
    "hosts",
    [
        {
            "POTO_HEARTBEAT_S": str(FOLLOWED_HEARTBEAT_S),
            "POTO_SEND_TIMEOUT_S": str(FOLLOWED_SEND_TIMEOUT_S),
            "POTO_AUTH__TOKENS": json.dumps({"t-admin": {"user": "admin", "roles": ["admin"]}}),
        }
    ],
    indirect=True,
)
async def test_who_looks_on_and_whose_packets_are_dropped_is_gone_within_the_bound(hosts: Hosts) -> None:
    """An endless call that says little: nothing but the heartbeat tells of its reader."""
    looking = await hosts.far.post(
        f"{hosts.url}/ChatServerModule/watchSessions",
        json={},
        headers={"Authorization": "Bearer t-admin", "Accept": "text/event-stream"},
        timeout=aiohttp.ClientTimeout(total=None),
    )
    assert await looking.content.readuntil(b"\n\n")
    # It stays for longer than the bound as long as its packets come.
    assert [await looking.content.readuntil(b": ping") for _ in range(8)]
    hosts.network.drop()
    dropped_s = time.time()
    bound_s = FOLLOWED_HEARTBEAT_S + 1.5 * FOLLOWED_SEND_TIMEOUT_S
    (line,) = await hosts.server.until_logged(
        "reply cut", limit_s=bound_s + 10, user="admin", cause="stalled"
    )
    noticed_s = _seconds(line) - dropped_s
    print(f"noticed after {noticed_s:.1f} s")
    assert noticed_s <= bound_s + TICK_S + BUSY_S
    looking.close()


@pytest.mark.long
async def test_the_same_with_the_defaults(hosts: Hosts) -> None:
    """15 s + 20 s."""
    await lose(hosts, 35)
