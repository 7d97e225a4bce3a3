"""The wire of an event stream under readers that are slow, stall, or do what no client should."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from potoserver import Cause, Connection, Event, ServerModule
from potoserver.events import Frame
from potoserver.web.peer import pause_as_soon_as_anything_waits, reset_when_closed
from potoserver.web.quiet import QuietConnections
from potoserver.web.stream import TransportStream
from tests.faults.readers import RawSubscriber
from tests.support.clock import ManualClock, settle
from tests.support.server import RunningServer, RunServer
from tests.support.sse import stream
from tests.support.tls import Authority
from tests.support.waiting import until

OUTBOX_BYTES = 100_000
EVENT_BYTES = 20_000


class Causes(ServerModule):
    """Writes down why connections ended."""

    def __init__(self) -> None:
        self.seen: list[Cause] = []

    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        self.seen.append(cause)


@pytest.fixture
def causes() -> Causes:
    return Causes()


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, causes: Causes, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    async with running_server(
        tmp_path,
        [causes],
        clock=clock,
        limits={"outbox_bytes": OUTBOX_BYTES, "connections_per_user": 0},
        backlog={"bytes": 20_000_000, "events": 1000},
    ) as running:
        yield running


Subscribe = Callable[..., Awaitable[RawSubscriber]]


@pytest.fixture
async def subscribe(running: RunningServer) -> AsyncIterator[Subscribe]:
    made: list[RawSubscriber] = []

    async def subscribe(last_event_id: str | None = None, *, opens: bool = True) -> RawSubscriber:
        before = len(running.core.subscriptions)
        subscriber = await RawSubscriber.open(
            port_of(running), last_event_id=last_event_id, buffer_bytes=65_536
        )
        made.append(subscriber)
        await until(lambda: len(running.core.subscriptions) > before)
        if opens:
            await subscriber.read_until(b"\n\n")
        return subscriber

    yield subscribe
    for each in made:
        each.close()


def port_of(running: RunningServer) -> int:
    return int(running.url.rpartition(":")[2])


async def publish(running: RunningServer, count: int, size: int = EVENT_BYTES) -> None:
    for number in range(count):
        await running.core.engine.publish("a1", Event("note", {"n": number, "text": "x" * size}))


def numbers(subscriber: RawSubscriber) -> list[int]:
    return [event.data["n"] for event in subscriber.events if event.type == "note"]


async def fill(running: RunningServer) -> None:
    """Publishes until the kernel's buffers are full and something waits in the server."""
    [subscription] = running.core.subscriptions
    for _ in range(1000):
        await publish(running, 1)
        await settle()
        sent_bytes = subscription.stream.sent_bytes
        await publish(running, 1, 1)
        if subscription.stream.sent_bytes > sent_bytes and subscription.stream._paused:
            return
    pytest.fail("the kernel takes everything")


class Ends:
    """Listens to a stream, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Cause] = []

    def on_lost(self, cause: Cause) -> None:
        self.told.append(cause)


async def stream_on_a_pair(
    clock: ManualClock,
) -> tuple[TransportStream, asyncio.Transport, socket.socket]:
    """A stream, its transport, and the reader's socket, without a server."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return stream_on(transport, clock), transport, theirs


def stream_on(
    transport: asyncio.Transport,
    clock: ManualClock,
    made: type[TransportStream] = TransportStream,
    quiet: QuietConnections | None = None,
) -> TransportStream:
    """A stream that has become the transport's protocol."""
    stream = made(
        transport,
        chunked=True,
        outbox_bytes=OUTBOX_BYTES,
        send_timeout_s=20,
        clock=clock,
        quiet=QuietConnections() if quiet is None else quiet,
    )
    transport.set_protocol(stream)
    pause_as_soon_as_anything_waits(transport)
    return stream


# How much may wait


async def test_a_replay_larger_than_the_outbox_cuts_nobody(
    running: RunningServer, subscribe: Subscribe, causes: Causes
) -> None:
    """Who returns to a full backlog gets all of it, if slowly: cut off, it would get it again, for ever."""
    first = await subscribe()
    last_id = first.last_id
    first.close()
    await until(lambda: causes.seen == [Cause.CLOSED])
    await publish(running, 180, 50_000)
    slow = await subscribe(last_id)
    await running.core.engine.publish("a1", Event("note", {"n": 180}))
    await slow.read_until(b'{"n":180')
    assert numbers(slow) == list(range(181))


async def test_an_event_larger_than_the_outbox_cuts_nobody(
    running: RunningServer, subscribe: Subscribe, clock: ManualClock
) -> None:
    """Nor do the heartbeats behind it."""
    slow = await subscribe()
    await publish(running, 1, 8_000_000)
    while b'"}\n\n' not in slow.received[-100_000:]:
        await clock.advance(1)
        await slow.read(100_000)
        assert slow.ended is None
    assert numbers(slow) == [0]


async def test_what_waits_behind_that_is_bounded(
    running: RunningServer, subscribe: Subscribe, causes: Causes
) -> None:
    """By the outbox, to the event."""
    await subscribe()
    await publish(running, 1, 3_000_000)
    await publish(running, OUTBOX_BYTES // (EVENT_BYTES + 100))
    await settle()
    assert causes.seen == []
    await publish(running, 2)
    await settle()
    assert causes.seen == [Cause.SLOW]


async def test_memory_of_stalled_readers_is_shared(running: RunningServer, subscribe: Subscribe) -> None:
    """An event that waits for many is held once, so that a hundred stalled readers cost what one does."""
    import tracemalloc

    for _ in range(20):
        await subscribe()
    await running.core.engine.broadcast(Event("fill", "x" * 3_000_000))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(4):
            await running.core.engine.broadcast(Event("big", "x" * EVENT_BYTES))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(running.core.subscriptions) == 20
    assert after - before < 20 * EVENT_BYTES


async def test_the_kernel_holds_little_for_a_reader_that_stalls(
    running: RunningServer, subscribe: Subscribe
) -> None:
    """It would take megabytes for each, which no setting bounds."""
    await subscribe()
    [subscription] = running.core.subscriptions
    await publish(running, 1, 3_000_000)
    stream = subscription.stream
    in_kernel = stream.sent_bytes - stream.taken_bytes - stream._waiting_bytes
    assert in_kernel < 400_000


# How long


async def test_a_reader_that_takes_nothing_is_cut_off_within_its_time(
    running: RunningServer, subscribe: Subscribe, clock: ManualClock, causes: Causes
) -> None:
    """`send_timeout_s`, and a quarter of that, from when its kernel has acknowledged what it took last."""
    await subscribe()
    await fill(running)
    await cut_in_its_time(running, clock, causes)


async def test_a_reader_that_takes_little_all_the_time_is_left_alone(
    running: RunningServer, subscribe: Subscribe, clock: ManualClock, causes: Causes
) -> None:
    """A slow link is no stall; what waits for minutes comes in the end."""
    slow = await subscribe()
    await publish(running, 1, 3_000_000)
    [subscription] = running.core.subscriptions
    for _ in range(12):
        await clock.advance(18)
        taken_bytes = subscription.stream.taken_bytes
        for _ in range(8):
            await slow.read(20_000)
        await until(lambda before=taken_bytes: subscription.stream.taken_bytes > before)
    assert causes.seen == []
    await cut_in_its_time(running, clock, causes)


async def cut_in_its_time(running: RunningServer, clock: ManualClock, causes: Causes) -> None:
    """Seen from the last acknowledgement, which may come late: the kernels go by a clock of their own."""
    [subscription] = running.core.subscriptions
    taken_bytes, since_s = -1, 0.0
    while not causes.seen:
        if subscription.stream.taken_bytes > taken_bytes:
            taken_bytes, since_s = subscription.stream.taken_bytes, clock.monotonic_s()
        assert clock.monotonic_s() - since_s <= 30  # a quarter later than it is due, and a look
        await clock.advance(1)
    assert causes.seen == [Cause.SLOW]
    assert clock.monotonic_s() - since_s >= 19


async def test_a_reader_whom_the_kernel_serves_is_cut_off_only_while_it_takes_nothing(
    running: RunningServer, subscribe: Subscribe, clock: ManualClock, causes: Causes
) -> None:
    """Also what fits the kernel's buffers is taken or not; once it was, silence is no stall."""
    resuming, stalling = await subscribe(), await subscribe()
    await publish(running, 1, 150_000)  # its own buffer takes a part, the server's kernel the rest
    subscriptions = list(running.core.subscriptions)
    await until(lambda: not any(each.stream._paused for each in subscriptions))
    assert all(each.stream.taken_bytes < each.stream.sent_bytes for each in subscriptions)
    await clock.advance(36)  # by then heartbeats were looked at, and found to be on their way
    await resuming.read_until(b'"}\n\n')
    await until(lambda: subscriptions[0].stream.taken_bytes == subscriptions[0].stream.sent_bytes)
    for _ in range(12):
        await clock.advance(5)
        await asyncio.sleep(0.06)  # the kernels go by their own clock: an acknowledgement may take 40 ms
    assert causes.seen == [Cause.SLOW]
    assert len(running.core.subscriptions) == 1
    stalling.close()


async def test_an_orderly_end_waits_for_the_reader_and_not_for_ever(
    running: RunningServer, subscribe: Subscribe, clock: ManualClock, causes: Causes
) -> None:
    """What was sent before it comes still, if it is read within the send timeout."""
    reading, stalling = await subscribe(), await subscribe()
    await publish(running, 1, 3_000_000)
    for subscription in running.core.subscriptions:
        subscription.stream.close(Cause.EXPIRED)
    await reading.read_to_end()
    assert (reading.ended, len(numbers(reading))) == ("end", 1)
    await clock.advance(21)
    await stalling.read_to_end()
    assert numbers(stalling) == []
    assert causes.seen == [Cause.EXPIRED, Cause.EXPIRED]


async def test_the_end_of_a_stream_that_was_full_is_told_once(clock: ManualClock) -> None:
    """When the reader takes the last pieces, asyncio must not say twice that the connection is gone."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    stream, transport, theirs = await stream_on_a_pair(clock)
    while not transport.get_write_buffer_size():
        stream.write(Frame(b"data: x\n\n"))
    stream.close(Cause.SHUTDOWN)
    with theirs:
        theirs.setblocking(False)
        while await loop.sock_recv(theirs, 1_000_000):
            pass
    await settle()
    assert transport.is_closing()
    assert complaints == []


async def test_a_stream_that_has_ended_sends_nothing_more(clock: ManualClock) -> None:
    """Neither after an orderly end, nor while that waits for its reader, nor after a reset."""
    loop = asyncio.get_running_loop()
    for full in (False, True):
        for cause in (Cause.SHUTDOWN, Cause.SLOW):
            stream, transport, theirs = await stream_on_a_pair(clock)
            stream.write(Frame(b"data: x\n\n"))
            while full and not transport.get_write_buffer_size():
                stream.write(Frame(b"data: x\n\n"))
            stream.close(cause)
            sent_bytes = stream.sent_bytes
            for _ in range(10):  # asyncio warns of the fifth write to a connection that is lost
                stream.write(Frame(b"data: late\n\n"))
            stream.write_together([Frame(b"data: late\n\n")] * 2)
            assert stream.sent_bytes == sent_bytes
            with theirs:
                theirs.setblocking(False)
                received = b""
                while chunk := await loop.sock_recv(theirs, 1_000_000):
                    received += chunk
            assert received.endswith(b"0\r\n\r\n") == (cause is Cause.SHUTDOWN)
            assert b"late" not in received
            await settle()


async def test_that_a_client_has_closed_is_told_before_others_have_their_turn(clock: ManualClock) -> None:
    """Though asyncio tells it only a turn of its loop later: it would be behind whatever is under way."""
    told: list[str] = []

    class Told(TransportStream):
        def connection_lost(self, exc: Exception | None) -> None:
            told.append("lost")
            super().connection_lost(exc)

    class Listener:
        on_lost = staticmethod(told.append)

    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    stream_on(transport, clock, Told).listen(Listener())
    theirs.close()
    await until(lambda: "lost" in told)
    assert told == [Cause.CLOSED, "lost"]


@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_that_closes_its_half_while_something_waits_has_its_time(
    clock: ManualClock, reads: bool
) -> None:
    """It may take what the transport has still, and is cut off when it takes nothing; it is told once."""
    loop = asyncio.get_running_loop()
    stream, transport, theirs = await stream_on_a_pair(clock)
    ends = Ends()
    stream.listen(ends)
    while not transport.get_write_buffer_size():
        stream.write(Frame(b"data: x\n\n"))
    with theirs:
        theirs.setblocking(False)
        theirs.shutdown(socket.SHUT_WR)
        await until(transport.is_closing)
        assert ends.told == []
        if reads:
            received = 0
            while chunk := await loop.sock_recv(theirs, 1_000_000):
                received += len(chunk)
            assert received == stream.sent_bytes
        await clock.advance(26)
    assert ends.told == [Cause.CLOSED if reads else Cause.SLOW]


# Past the transport


async def test_a_frame_goes_past_the_transport_while_nothing_waits(clock: ManualClock) -> None:
    """Where thousands get an event, each object more that a delivery looks at is felt."""
    stream, transport, theirs = await stream_on_a_pair(clock)
    given: list[bytes] = []
    transport.write = given.append  # type: ignore[assignment]
    stream.write(Frame(b"data: x\n\n"))
    with theirs:
        assert theirs.recv(100) == b"9\r\ndata: x\n\n\r\n"
    assert given == []
    transport.close()
    await settle()


async def test_what_the_kernel_takes_in_parts_arrives_once_and_in_order(clock: ManualClock) -> None:
    """However often it is full, and from wherever it goes on."""
    loop = asyncio.get_running_loop()
    stream, transport, theirs = await stream_on_a_pair(clock)
    frames = [Frame(b"data: %d %b\n\n" % (number, b"x" * (number * 997 % 50_000))) for number in range(400)]
    expected = b"".join(frame.chunked for frame in frames)
    received = b""
    with theirs:
        theirs.setblocking(False)
        for frame in frames:
            stream.write(frame)
            while stream._paused:
                received += await loop.sock_recv(theirs, 30_000)
        while len(received) < len(expected):
            received += await loop.sock_recv(theirs, 30_000)
    assert received == expected
    assert stream.sent_bytes == len(expected)
    transport.close()
    await settle()


async def test_a_write_that_fails_is_the_end(clock: ManualClock) -> None:
    """It is told once, with its cause, and nothing is written after it."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    stream, transport, theirs = await stream_on_a_pair(clock)
    ends = Ends()
    stream.listen(ends)
    theirs.close()
    for _ in range(10):
        stream.write(Frame(b"data: x\n\n"))
    assert ends.told == [Cause.CLOSED]
    await settle()
    assert ends.told == [Cause.CLOSED]
    assert transport.is_closing()
    assert complaints == []
    assert stream.sent_bytes == 0


@pytest.mark.parametrize("notices", ["it is heard", "a write", "it is heard after a write"])
@pytest.mark.parametrize("goes", [Cause.CLOSED, Cause.RESET])
async def test_how_a_client_goes_is_told_however_it_is_noticed(
    clock: ManualClock, goes: Cause, notices: str
) -> None:
    """Who has closed in order is not told as reset for what was written before that was noticed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    quiet, ends = QuietConnections(), Ends()
    stream = stream_on(transport, clock, quiet=quiet)
    stream.listen(ends)
    quiet.add(stream, transport)
    if goes is Cause.RESET:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    for _ in range({"it is heard": 0, "a write": 2, "it is heard after a write": 1}[notices]):
        stream.write(Frame(b"data: x\n\n"))
    assert bool(ends.told) == (notices == "a write" or (goes is Cause.RESET and notices != "it is heard"))
    await until(transport.is_closing)
    await settle()
    assert ends.told == [goes]
    assert len(quiet) == 0


async def test_what_waits_is_not_given_to_a_connection_that_is_lost(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For each piece asyncio would write a line of its own: many thousands, as often as a client likes."""
    stream, _, theirs = await stream_on_a_pair(clock)
    resume_writing = TransportStream.resume_writing

    def lose(self: TransportStream) -> None:
        theirs.close()
        resume_writing(self)

    monkeypatch.setattr(TransportStream, "resume_writing", lose)
    ends = Ends()
    stream.listen(ends)
    while not stream._paused:
        stream.write(Frame(b"x" * 30_000))
    for _ in range(100):
        stream.write(Frame(b"data: x\n\n"))
    theirs.setblocking(False)
    async with asyncio.timeout(10):
        while theirs.fileno() >= 0:
            with suppress(BlockingIOError):
                theirs.recv(1_000_000)
            await asyncio.sleep(0)
    await settle()
    assert ends.told == [Cause.CLOSED]
    assert "socket.send() raised exception." not in caplog.messages


@pytest.fixture
async def tls_stream(
    tmp_path: Path, clock: ManualClock
) -> AsyncIterator[tuple[TransportStream, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A stream under TLS, without a server, and its reader."""
    authority = Authority(tmp_path)
    streams: list[TransportStream] = []

    class Taken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            made = stream_on(transport, clock)
            streams.append(made)
            made.write(Frame(b"data: x\n\n"))

    server = await asyncio.get_running_loop().create_server(
        Taken, "127.0.0.1", 0, ssl=authority.context("localhost")
    )
    async with server:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
        )
        assert await reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: x\n\n\r\n"
        yield streams[0], reader, writer
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_under_tls_a_frame_goes_through_the_transport(
    tls_stream: tuple[TransportStream, asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Else it would arrive as no client could read it."""
    stream, reader, _ = tls_stream
    stream.close(Cause.SHUTDOWN)
    assert await reader.read() == b"0\r\n\r\n"


def lose_under_tls(
    tls_stream: tuple[TransportStream, asyncio.StreamReader, asyncio.StreamWriter],
) -> tuple[TransportStream, Ends]:
    """Has its client reset the connection: of an end that is read the stream would be told at once."""
    stream, _, writer = tls_stream
    ends = Ends()
    stream.listen(ends)
    reset_when_closed(writer.transport, on=True)
    writer.transport.abort()
    return stream, ends


async def test_a_connection_that_is_lost_under_tls_can_be_looked_at_all_the_time(
    tls_stream: tuple[TransportStream, asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Its socket is unknown before the stream is told; the heartbeat of all others goes on behind it."""
    stream, ends = lose_under_tls(tls_stream)
    async with asyncio.timeout(10):
        while not ends.told:
            assert stream.taken_bytes <= stream.sent_bytes
            stream.expect_taken(stream.sent_bytes + 1)
            stream.all_taken  # noqa: B018
            await asyncio.sleep(0)
    assert stream.taken_bytes == stream.sent_bytes


@pytest.mark.parametrize("cause", [Cause.LEASE, Cause.SHUTDOWN])
async def test_a_connection_that_is_lost_under_tls_can_be_closed(
    tls_stream: tuple[TransportStream, asyncio.StreamReader, asyncio.StreamWriter], cause: Cause
) -> None:
    """Before the stream is told, too; so whoever closes many comes to the others."""
    stream, ends = lose_under_tls(tls_stream)
    await until(lambda: stream._transport.get_extra_info("socket") is None, pause_s=0)
    assert ends.told == []
    stream.close(cause)
    await settle()
    assert ends.told == [cause]


# What no client should do


async def test_a_second_request_on_an_event_stream_is_not_answered(
    running: RunningServer, subscribe: Subscribe
) -> None:
    """Neither one in the same packet nor one that comes later; the stream goes on."""
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    later = await subscribe()
    sock = socket.create_connection(("127.0.0.1", port_of(running)))
    sock.setblocking(False)
    at_once = RawSubscriber(sock)
    loop = asyncio.get_running_loop()
    head = b"GET /subscribe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n\r\n"
    await loop.sock_sendall(sock, head + request)
    await at_once.read_until(b"\n\n\r\n")
    await loop.sock_sendall(later.sock, request)
    await running.core.engine.publish("a1", Event("note", {"n": 1}))
    for each in (later, at_once):
        await each.read_until(b'{"n":1}')
        assert each.received.count(b" 200 OK") == 1
    at_once.close()


async def test_a_client_that_floods_its_event_stream_is_cut_off(
    running: RunningServer, subscribe: Subscribe, causes: Causes
) -> None:
    """After 64 KiB that nobody reads; less is let pass."""
    loop = asyncio.get_running_loop()
    flooding, harmless = await subscribe(), await subscribe()
    await loop.sock_sendall(harmless.sock, b"x" * 65_536)
    await running.core.engine.publish("a1", Event("note", {"n": 1}))
    await harmless.read_until(b'{"n":1}')
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            await loop.sock_sendall(flooding.sock, b"x" * 65_536)
            await asyncio.sleep(0)
    await until(lambda: causes.seen)
    assert causes.seen == [Cause.KICKED]


async def test_a_client_that_closes_its_half_has_gone(
    running: RunningServer, subscribe: Subscribe, causes: Causes
) -> None:
    """Nobody who wants to listen on does that; the end of its sending is the end of the stream."""
    half = await subscribe()
    half.sock.shutdown(socket.SHUT_WR)
    await until(lambda: causes.seen)
    assert causes.seen == [Cause.CLOSED]
    await half.read_to_end()


async def test_a_reset_while_the_stream_opens_leaves_nothing(
    tmp_path: Path, running_server: RunServer
) -> None:
    """At any moment of it: before the head is read, while modules are asked, at the first write."""
    asked, may_open = asyncio.Event(), asyncio.Event()

    class Slow(Causes):
        connected_field_names = ("slow",)

        async def connected_fields(self, user_id: str) -> dict[str, bool]:
            asked.set()
            await may_open.wait()
            return {"slow": True}

    causes = Slow()
    async with running_server(tmp_path, [causes]) as running:
        subscriber = await RawSubscriber.open(port_of(running))
        await asked.wait()
        subscriber.close(reset=True)
        await until(lambda: causes.seen == [Cause.RESET])
        may_open.set()
        for number in range(200):
            subscriber = await RawSubscriber.open(port_of(running))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            subscriber.close(reset=True)
        await until(lambda: len(running.core.subscriptions) == 0)
        await until(lambda: running.sample("potoserver_users_online") == 0)
        async with stream(running.session, f"{running.url}/subscribe") as reader:
            await reader.next("connected")
