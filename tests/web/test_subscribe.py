"""The event stream, through a real socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from potoserver import Cause, Departure, Event, ServerModule
from potoserver.web.stream import TransportStream
from tests.support.clock import ManualClock, settle
from tests.support.server import RunningServer, RunServer, log_lines
from tests.support.sse import open_stream, stream
from tests.support.waiting import until


class Watching(ServerModule):
    """Writes down arrivals and departures."""

    connected_field_names: ClassVar[tuple[str, ...]] = ("seen",)

    def __init__(self) -> None:
        self.told: list[str] = []
        self.causes: list[Cause] = []

    async def on_sse_connect(self, user_id: str) -> None:
        self.told.append(f"connect {user_id}")

    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        self.told.append(f"disconnect {user_id}")
        self.causes.append(departure.cause)

    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        return {"seen": True}


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, watching: Watching, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, [watching], clock=clock) as running:
        yield running


async def test_the_stream_opens_with_retry_and_connected(running: RunningServer) -> None:
    """Headers, reconnection time and the fields of the core and of modules."""
    async with stream(running.session, f"{running.url}/subscribe") as reader:
        headers = reader.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Accel-Buffering"] == "no"
        # Its connection ends with it, and a client must not keep that for another request.
        assert headers["Connection"] == "close"
        connected = await reader.next()
        assert connected.type == "connected"
        assert connected.retry_ms == 1000
        assert connected.id is not None
        assert connected.data.pop("connection").startswith("c-")
        assert connected.data == {"user": "a1", "resumed": False, "gap": False, "seen": True}


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="it is Linux that sends them together")
async def test_the_headers_go_with_the_opening(tmp_path: Path, running_server: RunServer) -> None:
    """In one packet: to send it, and to wake the client, costs as much for both as for one."""

    def is_held_back() -> bool:
        [subscription] = running.core.subscriptions
        stream = subscription.stream
        assert isinstance(stream, TransportStream)
        sock = stream._transport.get_extra_info("socket")
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK))

    class Looks(ServerModule):
        connected_field_names = ("heldBack",)

        async def connected_fields(self, user_id: str) -> dict[str, bool]:
            return {"heldBack": is_held_back()}

    async with (
        running_server(tmp_path, [Looks()]) as running,
        stream(running.session, f"{running.url}/subscribe") as reader,
    ):
        assert (await reader.next()).data["heldBack"] is True
        assert not is_held_back()


async def test_without_a_credential_it_is_401_and_no_stream(running: RunningServer) -> None:
    """The only refusal with a status of its own."""
    async with running.session.get(f"{running.url}/subscribe") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("lease", ["9", "301", "", "x", "1e2", "-30", "30.5", "٣٠"])
async def test_a_lease_that_is_none_is_refused(running: RunningServer, lease: str) -> None:
    """422, naming the field."""
    headers = {"Authorization": "Bearer test-token"}
    async with running.session.get(
        f"{running.url}/subscribe", params={"lease": lease}, headers=headers
    ) as answer:
        assert answer.status == 422
        assert (await answer.json())["errors"][0]["field"] == "lease"


async def test_other_methods_are_405(running: RunningServer) -> None:
    """A HEAD would hold no stream."""
    headers = {"Authorization": "Bearer test-token"}
    for method in ("HEAD", "POST", "PUT"):
        async with running.session.request(method, f"{running.url}/subscribe", headers=headers) as answer:
            assert answer.status == 405


async def test_events_reach_all_of_a_users_connections_and_nobody_elses(running: RunningServer) -> None:
    """Two tabs of one user, and another user."""
    url = f"{running.url}/subscribe"
    async with (
        stream(running.session, url) as one,
        stream(running.session, url) as two,
        stream(running.session, url, "admin-token") as other,
    ):
        for reader in (one, two, other):
            await reader.next("connected")
        await running.core.engine.publish("a1", Event("note", {"n": 1}))
        assert await running.core.engine.broadcast(Event("all")) == 3
        for reader in (one, two):
            assert (await reader.next()).data == {"n": 1}
            assert (await reader.next()).type == "all"
        assert (await other.next()).type == "all"
        assert two.seen[0].data["resumed"] is True


async def test_closing_the_last_tab_ends_once_after_the_grace(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """Closing one of two ends nothing."""
    url = f"{running.url}/subscribe"
    one = await open_stream(running.session, url)
    two = await open_stream(running.session, url)
    await two.next("connected")
    await one.close()
    await until(lambda: running.core.subscriptions.count_of("a1") == 1)
    await clock.advance(60)
    assert watching.told == ["connect a1"]
    await two.close()
    await until(lambda: running.core.subscriptions.count_of("a1") == 0)
    await clock.advance(4.9)
    assert watching.told == ["connect a1"]
    await clock.advance(0.2)
    assert watching.told == ["connect a1", "disconnect a1"]
    await clock.advance(60)
    assert watching.told == ["connect a1", "disconnect a1"]


async def test_a_blip_keeps_the_presence_and_replays_what_was_missed(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """Once each, in order; by header and by query."""
    url = f"{running.url}/subscribe"
    reader = await open_stream(running.session, url)
    await reader.next("connected")
    await running.core.engine.publish("a1", Event("note", 0))
    await reader.next("note")
    last_id = reader.last_id
    assert last_id is not None
    await reader.close()
    await until(lambda: running.core.subscriptions.count_of("a1") == 0)
    for n in range(1, 6):
        await running.core.engine.publish("a1", Event("note", n))
    await clock.advance(3)
    for options in ({"last_event_id": last_id}, {"lastEventId": last_id}):
        async with stream(running.session, url, **options) as back:
            connected = await back.next("connected")
            assert connected.id == last_id
            assert (connected.data["resumed"], connected.data["gap"]) == (True, False)
            assert [(await back.next()).data for _ in range(5)] == [1, 2, 3, 4, 5]
    await until(lambda: running.core.subscriptions.count_of("a1") == 0)
    await clock.advance(3)
    assert watching.told == ["connect a1"]


async def test_the_header_beats_the_query(running: RunningServer) -> None:
    """As an EventSource sends both when it reconnects to a URL that carried one."""
    url = f"{running.url}/subscribe"
    first = await running.core.engine.publish("a1", Event("note", 1))
    second = await running.core.engine.publish("a1", Event("note", 2))
    async with stream(running.session, url, last_event_id=str(second), lastEventId=str(first)) as reader:
        assert (await reader.next("connected")).id == str(second)


async def test_the_id_of_connected_loses_nothing_at_a_second_drop(running: RunningServer) -> None:
    """Dropped before any event, the client resumes from `connected`."""
    url = f"{running.url}/subscribe"
    reader = await open_stream(running.session, url)
    connected = await reader.next("connected")
    await reader.close()
    await running.core.engine.publish("a1", Event("note", 1))
    async with stream(running.session, url, last_event_id=connected.id) as back:
        assert (await back.next("connected")).data["gap"] is False
        assert (await back.next()).data == 1


@pytest.mark.parametrize("last_event_id", ["nonsense", "abcdef-5", "x-1-2"])
async def test_an_id_that_cannot_be_continued_is_a_gap(running: RunningServer, last_event_id: str) -> None:
    """Told in the stream, which goes on from the newest."""
    newest = await running.core.engine.publish("a1", Event("note", 1))
    url = f"{running.url}/subscribe"
    async with stream(running.session, url, last_event_id=last_event_id) as reader:
        connected = await reader.next("connected")
        assert connected.data["gap"] is True
        assert connected.id == str(newest)
    assert running.sample("potoserver_gaps_total") == 1


async def test_a_reset_is_noticed_at_once_with_its_cause(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """As is an orderly end: the next write need not come first."""
    for linger, cause in ((True, Cause.RESET), (False, Cause.CLOSED)):
        host, port = running.url.removeprefix("http://").split(":")
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        request = f"GET /subscribe HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer test-token\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        received = b""
        while b"event: connected" not in received or not received.endswith(b"\n\n\r\n"):
            received += await loop.sock_recv(sock, 65536)
        if linger:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await until(lambda: running.core.subscriptions.count_of("a1") == 0)
        await settle()
        await clock.advance(6)
        assert watching.causes[-1] is cause


async def test_http_1_0_gets_the_stream_unchunked(running: RunningServer) -> None:
    """Its end is the end of the connection."""
    host, port = running.url.removeprefix("http://").split(":")
    read, write = await asyncio.open_connection(host, int(port))
    write.write(b"GET /subscribe HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer test-token\r\n\r\n")
    head = await read.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    block = await read.readuntil(b"\n\n")
    assert block.startswith(b"retry: 1000\nid: ")
    write.close()


async def test_a_token_that_expires_ends_its_stream(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> None:
    """With cause `expired`."""
    import jwt

    secret = "s" * 32
    expires_s = clock.now_ms() // 1000 + 60
    token = jwt.encode({"sub": "j1", "exp": expires_s}, secret, algorithm="HS256")
    watching = Watching()
    async with running_server(tmp_path, [watching], clock=clock, auth={"jwt_secret": secret}) as running:
        reader = await open_stream(running.session, f"{running.url}/subscribe", token)
        await reader.next("connected")
        await clock.advance(58)
        assert not reader.ended.is_set()
        await clock.advance(3)
        await reader.end()
        await clock.advance(6)
        assert watching.causes == [Cause.EXPIRED]
        async with running.session.get(
            f"{running.url}/subscribe", headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            assert answer.status == 401


async def test_a_lease_ends_without_acks_and_lives_with_them(
    running: RunningServer, watching: Watching, clock: ManualClock
) -> None:
    """`ping` is answered at `/subscribe/ack`; nobody else's ack counts."""
    reader = await open_stream(running.session, f"{running.url}/subscribe", lease="10")
    connection = (await reader.next("connected")).data["connection"]
    for _ in range(5):
        await clock.advance(7)
        ping = await reader.next("ping")
        assert ping.id is None
        body = {"connection": connection, "lastEventId": reader.last_id}
        assert (await running.call("subscribe/ack", body))[0] == 204
    status, problem = await running.call("subscribe/ack", {"connection": connection}, token="admin-token")
    assert (status, problem["status"]) == (404, 404)
    assert (await running.call("subscribe/ack", {}))[0] == 422
    [subscription] = running.core.subscriptions
    for _ in range(11):
        await clock.advance(1)
        await until(lambda: subscription.stream.all_taken)  # the kernels go by a clock of their own
    await reader.end()
    await clock.advance(6)
    assert watching.causes == [Cause.LEASE]
    assert (await running.call("subscribe/ack", {"connection": connection}))[0] == 404


async def test_a_reader_that_never_reads_is_cut_off_at_its_outbox(
    tmp_path: Path, clock: ManualClock, watching: Watching, running_server: RunServer
) -> None:
    """With cause `slow`; the others get everything."""
    async with running_server(tmp_path, [watching], clock=clock, limits={"outbox_bytes": 100_000}) as running:
        url = f"{running.url}/subscribe"
        async with stream(running.session, url, "admin-token") as good:
            await good.next("connected")
            host, port = running.url.removeprefix("http://").split(":")
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((host, int(port)))
            sock.sendall(
                b"GET /subscribe HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer test-token\r\n\r\n"
            )
            await until(lambda: running.core.subscriptions.count_of("a1") == 1)
            for _ in range(2000):
                await running.core.engine.broadcast(Event("big", "x" * 10_000))
                assert (await good.next("big")).data == "x" * 10_000
                if running.core.subscriptions.count_of("a1") == 0:
                    break
            else:
                pytest.fail("a reader of nothing was never cut off")
            sock.close()
        await clock.advance(6)
        await until(lambda: Cause.SLOW in watching.causes)


async def test_too_many_connections_are_told_in_the_stream(tmp_path: Path, running_server: RunServer) -> None:
    """200 and `unavailable`, or an EventSource would give up for good."""
    async with running_server(tmp_path, limits={"connections_per_user": 2, "connections": 3}) as running:
        url = f"{running.url}/subscribe"
        kept = [await open_stream(running.session, url) for _ in range(2)]
        for reader in kept:
            await reader.next("connected")
        async with stream(running.session, url) as refused:
            event = await refused.next()
            assert event.type == "unavailable"
            assert event.data["reason"] == "too-many-connections-of-user"
            assert event.retry_ms == event.data["retryAfterMs"] >= 1000
            await refused.end()
        kept.append(await open_stream(running.session, url, "admin-token"))
        await kept[-1].next("connected")
        async with stream(running.session, url, "admin-token") as refused:
            assert (await refused.next()).data["reason"] == "too-many-connections"
        await kept[0].close()
        await until(lambda: len(running.core.subscriptions) == 2)
        async with stream(running.session, url) as again:
            await again.next("connected")
        for reader in kept[1:]:
            await reader.close()


async def test_a_stop_tells_every_subscriber_and_ends_the_streams(
    tmp_path: Path, running_server: RunServer
) -> None:
    """`shutdown` first; meanwhile a new subscriber is told `unavailable`."""
    entered, leave = asyncio.Event(), asyncio.Event()

    class Stopping(ServerModule):
        async def on_stop(self) -> None:
            entered.set()
            await leave.wait()

    async with running_server(tmp_path, [Stopping()]) as running:
        url = f"{running.url}/subscribe"
        readers = [await open_stream(running.session, url) for _ in range(3)]
        for reader in readers:
            await reader.next("connected")
        stopping = asyncio.create_task(running.server.stop())
        await entered.wait()
        for reader in readers:
            shutdown = await reader.next()
            assert (shutdown.type, shutdown.id) == ("shutdown", None)
            assert not reader.ended.is_set()
        async with stream(running.session, url) as late:
            event = await late.next()
            assert (event.type, event.data["reason"]) == ("unavailable", "draining")
        leave.set()
        assert await stopping
        for reader in readers:
            await reader.end()
            await reader.close()
    lines = [line for line in log_lines(tmp_path) if line["event"] == "SSE disconnect detected"]
    assert [line["cause"] for line in lines] == ["shutdown"] * 3


async def test_the_log_tells_of_connections_and_never_of_data(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> None:
    """With `log.debug_sse` each event, replay and heartbeat is a line: id, type, bytes."""
    async with running_server(tmp_path, clock=clock, log={"debug_sse": True}) as running:
        async with stream(running.session, f"{running.url}/subscribe") as reader:
            await reader.next("connected")
            await running.core.engine.publish("a1", Event("note", "very secret"))
            await reader.next("note")
            await clock.advance(15)
        await until(lambda: len(running.core.subscriptions) == 0)
    lines = log_lines(tmp_path)
    for event in ("SSE subscribed", "SSE replay", "SSE event", "SSE heartbeat", "SSE disconnect detected"):
        assert any(line["event"] == event and line["logger"] == "sse" for line in lines), event
    text = (tmp_path / "logs" / "server.log").read_text()
    assert "very secret" not in text
    assert "test-token" not in text


async def test_a_request_that_is_no_http_leaves_no_token_in_the_log(
    tmp_path: Path, running_server: RunServer
) -> None:
    """The parser quotes the line that it could not read; the log does not."""
    from potoserver.logs import Logs, StdlibBridge
    from potoserver.settings.model import LogSettings

    process_logs = Logs(LogSettings(), tmp_path / "process", terminal=None)
    process_logs.start()
    with StdlibBridge(process_logs):
        async with running_server(tmp_path) as running:
            host, port = running.url.removeprefix("http://").split(":")
            read, write = await asyncio.open_connection(host, int(port))
            write.write(b"GET /subscribe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer SECRET\x01\r\n\r\n")
            assert (await read.readline()).startswith(b"HTTP/1.0 400")
            write.close()
    process_logs.stop()
    text = (tmp_path / "process" / "server.log").read_text()
    assert "it is not HTTP" in text
    assert "SECRET" not in text


async def test_what_a_module_tells_who_has_just_come_arrives_on_the_stream_that_opens(
    tmp_path: Path, running_server: RunServer
) -> None:
    """However long the fields of `connected` take; once, and behind `connected`, whose id comes before it."""

    class Welcoming(ServerModule):
        def __init__(self) -> None:
            self.published = asyncio.Event()

        async def on_sse_connect(self, user_id: str) -> None:
            await self.context.publish(user_id, Event("welcome", {"number": 1}))
            self.published.set()

        async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
            await self.published.wait()
            return {}

    async with running_server(tmp_path, [Welcoming()]) as running:
        async with stream(running.session, f"{running.url}/subscribe") as reader:
            connected, welcome = await reader.next(), await reader.next()
            assert (connected.type, welcome.type) == ("connected", "welcome")
        since = str(connected.id)
        async with stream(running.session, f"{running.url}/subscribe", lastEventId=since) as reader:
            assert (await reader.next()).data["gap"] is False
            assert (await reader.next()).id == welcome.id


def note_detaches(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the connections that the engine is asked to detach from now on."""
    detached: list[str] = []
    detach = running.core.engine.detach

    async def note(user_id: str, connection_id: str, cause: Cause) -> int:
        detached.append(connection_id)
        return await detach(user_id, connection_id, cause)

    monkeypatch.setattr(running.core.engine, "detach", note)
    return detached


async def test_of_a_crowd_that_goes_some_are_seen_to_at_a_time(
    tmp_path: Path, clock: ManualClock, running_server: RunServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turns between, and each is seen to."""
    limits = {"connections_per_user": 0}
    async with (
        running_server(tmp_path, [], clock=clock, limits=limits) as running,
        AsyncExitStack() as streams,
    ):
        for _ in range(22):
            reader = await streams.enter_async_context(stream(running.session, f"{running.url}/subscribe"))
            await reader.next("connected")
        detached = note_detaches(running, monkeypatch)
        running.core.subscriptions.close_all(Cause.KICKED)
        seen = []
        for _ in range(5):
            await asyncio.sleep(0)
            seen.append(len(detached))
        assert seen == [0, 8, 16, 22, 22]
        assert len(set(detached)) == 22
        assert (await running.core.engine.presence_of("a1")).connections == 0


async def test_one_that_goes_alone_is_seen_to_in_the_next_turn(
    tmp_path: Path, clock: ManualClock, running_server: RunServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn more is behind whatever is under way, such as everybody's heartbeats."""
    async with (
        running_server(tmp_path, [], clock=clock) as running,
        stream(running.session, f"{running.url}/subscribe") as reader,
    ):
        await reader.next("connected")
        detached = note_detaches(running, monkeypatch)
        running.core.subscriptions.close_all(Cause.KICKED)
        await asyncio.sleep(0)
        assert len(detached) == 1
