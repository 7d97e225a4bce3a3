"""Connections of whose clients nothing is expected."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import pairwise

import pytest
from typing_extensions import override

from potoserver.web.quiet import QuietConnections
from tests.support.clock import settle


class _Protocol(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self, quiet: QuietConnections) -> None:
        self._quiet = quiet
        self.received = b""
        self.failed: bool | None = None
        """Whether it was told of an error, once it was told of its end."""
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def speaks(self) -> None:
        """As an owner."""
        self.transport.resume_reading()

    def ended(self, failed: bool) -> None:
        """As an owner."""
        self.failed = failed
        self.transport.close()

    @override
    def data_received(self, data: bytes) -> None:
        self.received += data

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._quiet.remove(self.transport)
        self.lost.set_result(exc)


class _Crowd:
    """Connections, and the other ends of them."""

    def __init__(self) -> None:
        self.quiet = QuietConnections()
        self.ours: list[_Protocol] = []
        self.theirs: list[socket.socket] = []

    async def add(self, count: int) -> None:
        """So many more, all of them quiet."""
        for _ in range(count):
            ours, theirs = socket.socketpair()
            _, protocol = await asyncio.get_running_loop().create_connection(
                lambda: _Protocol(self.quiet), sock=ours
            )
            self.quiet.add(protocol, protocol.transport)
            self.ours.append(protocol)
            self.theirs.append(theirs)

    def lost(self) -> int:
        """How many are known to be lost."""
        return sum(each.lost.done() for each in self.ours)


@pytest.fixture
async def crowd() -> AsyncIterator[_Crowd]:
    crowd = _Crowd()
    yield crowd
    for protocol, sock in zip(crowd.ours, crowd.theirs, strict=True):
        sock.close()
        protocol.transport.abort()  # also where a test has failed, since its end was not noticed
        await protocol.lost


async def test_of_thousands_that_go_at_once_a_few_are_heard_in_a_turn(crowd: _Crowd) -> None:
    """Else others would wait for all of them, in each step of what they do."""
    await crowd.add(200)
    for sock in crowd.theirs:
        sock.close()
    lost = [0]
    while lost[-1] < len(crowd.ours):
        await asyncio.sleep(0)
        lost.append(crowd.lost())
    assert max(after - before for before, after in pairwise(lost)) <= 4
    assert len(crowd.quiet) == 0


async def test_after_a_few_the_loop_rests_from_them(crowd: _Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What thousands of ends are followed by leaves time to others; one alone, and a later one, at once."""
    await crowd.add(11)
    rests, _ = _timers_of(asyncio.get_running_loop(), monkeypatch)
    for sock in crowd.theirs[:9]:
        sock.close()
    for lost, rest_count in ((4, 1), (8, 2), (9, 2)):
        await settle()
        assert (crowd.lost(), len(rests)) == (lost, rest_count)
        rests[-1]()
    for lost in (10, 11):
        crowd.theirs[lost - 1].close()
        await settle()
        assert (crowd.lost(), len(rests)) == (lost, 2)
    assert crowd.quiet._epoll is None


def _timers_of(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Callable[[], None]], list[float]]:
    """Keeps the loop's timers from being set; what they would have called, and after how many seconds."""
    calls: list[Callable[[], None]] = []
    delays_s: list[float] = []

    def call_later(delay_s: float, call: Callable[..., None], *of: object) -> None:
        calls.append(partial(call, *of))
        delays_s.append(delay_s)

    monkeypatch.setattr(loop, "call_later", call_later)
    return calls, delays_s


async def test_the_later_the_loop_is_the_longer_it_rests_from_ends(
    crowd: _Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others have much to do, who has gone can wait; and while they have not, it is soon done."""
    await crowd.add(24)
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    rests, rests_s = _timers_of(loop, monkeypatch)
    for sock in crowd.theirs:
        sock.close()
    await settle()
    monkeypatch.setattr(loop, "time", lambda: now_s)
    for late_s in (0.001, 0.002, 0.003, 1.0):
        now_s += rests_s[-1] + late_s
        rests[-1]()
        await settle()
    assert rests_s[1:] == pytest.approx([0.0005, 0.002, 0.004, 0.005])
    rests[-1]()


async def test_where_the_kernel_takes_the_set_in_no_more_the_loop_looks_by_a_timer(
    crowd: _Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it does again: else no end would be noticed any more."""
    await crowd.add(7)
    loop = asyncio.get_running_loop()
    rests, _ = _timers_of(loop, monkeypatch)
    for sock in crowd.theirs[:5]:
        sock.close()
    await settle()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "add_reader", refuse)
        rests[-1]()
        await settle()
    assert (crowd.lost(), len(rests)) == (5, 2)
    crowd.theirs[5].close()
    rests[-1]()
    await settle()
    assert (crowd.lost(), len(rests)) == (6, 2)
    crowd.theirs[6].close()
    await settle()
    assert (crowd.lost(), len(rests)) == (7, 2)


async def test_who_says_something_is_heard_and_read_from_on(crowd: _Crowd) -> None:
    """However often; and its end is noticed after that, too."""
    await crowd.add(3)
    for piece in (b"one", b"two"):
        before = crowd.ours[1].received
        crowd.theirs[1].send(piece)
        while crowd.ours[1].received == before:
            await asyncio.sleep(0)
    assert [each.received for each in crowd.ours] == [b"", b"onetwo", b""]
    crowd.theirs[1].close()
    assert await crowd.ours[1].lost is None
    assert crowd.lost() == 1


async def test_an_end_of_our_own_is_followed_by_none_of_another_connection(crowd: _Crowd) -> None:
    """The next one may have the same descriptor."""
    await crowd.add(2)
    crowd.ours[0].transport.close()
    await crowd.ours[0].lost
    assert len(crowd.quiet) == 1
    await crowd.add(1)
    crowd.theirs[0].close()
    crowd.theirs[2].send(b"here")
    while not crowd.ours[2].received:
        await asyncio.sleep(0)
    assert crowd.lost() == 1


async def test_where_nobody_is_nothing_is_kept_open(crowd: _Crowd) -> None:
    """No descriptor stays with the loop."""
    for _ in range(2):
        await crowd.add(5)
        assert crowd.quiet._epoll is not None
        for protocol, sock in zip(crowd.ours, crowd.theirs, strict=True):
            sock.close()
            await protocol.lost
        assert crowd.quiet._epoll is None


async def test_where_the_kernel_has_no_room_the_loop_reads(
    crowd: _Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of descriptors; else nobody would notice the end of the connection."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(select, "epoll", refuse)
    await crowd.add(1)
    assert len(crowd.quiet) == 0
    crowd.theirs[0].close()
    assert await crowd.ours[0].lost is None


async def test_where_the_kernel_watches_no_more_the_loop_reads(crowd: _Crowd) -> None:
    """Others are watched as before."""
    await crowd.add(1)
    ours, theirs = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().create_connection(
        lambda: _Protocol(crowd.quiet), sock=ours
    )
    assert crowd.quiet._epoll is not None
    crowd.quiet._epoll.register(ours, 0)  # so it can't be registered once more
    transport.pause_reading()
    crowd.quiet.add(protocol, transport)
    assert len(crowd.quiet) == 1
    theirs.close()
    assert await protocol.lost is None
    assert len(crowd.quiet) == 1


async def test_one_that_was_reset_is_heard_too(crowd: _Crowd) -> None:
    """With the error, by which its cause is told."""
    await crowd.add(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: _Protocol(crowd.quiet), sock=ours
    )
    crowd.quiet.add(protocol, protocol.transport)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    await protocol.lost
    assert protocol.failed
    crowd.theirs[0].close()
    await crowd.ours[0].lost
    assert crowd.ours[0].failed is False
