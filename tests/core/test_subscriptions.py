"""The hand-over from replay to live, on one connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from potoserver.engine.base import LogEntry, Replay
from potoserver.engine.presence import Cause
from potoserver.events import EventId, Frame
from potoserver.metrics import Metrics
from potoserver.module.base import Connection
from potoserver.subscriptions import EventStream, StreamListener, Subscription, Subscriptions


class RecordedStream(EventStream):
    """A wire that keeps what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.cause: Cause | None = None
        self.taken: int | None = None
        """How much of it the reader has; None for all."""
        self.silent = False

    def write(self, frame: Frame) -> None:
        self.write_together([frame])

    def write_together(self, frames: Sequence[Frame]) -> None:
        if self.cause is None:
            self.written += [frame.raw for frame in frames]

    def close(self, cause: Cause) -> None:
        self.cause = self.cause or cause

    def listen(self, listener: StreamListener) -> None:
        raise NotImplementedError

    def expect_taken(self, upto_bytes: int) -> None:
        if self.silent and self.taken_bytes < upto_bytes:
            self.close(Cause.UNREACHABLE)

    @property
    def sent_bytes(self) -> int:
        return sum(map(len, self.written))

    @property
    def taken_bytes(self) -> int:
        return self.sent_bytes if self.taken is None else self.taken

    @property
    def all_taken(self) -> bool:
        return self.taken_bytes == self.sent_bytes


def entry(seq: int) -> LogEntry:
    event_id = EventId("e", seq)
    return LogEntry(event_id, "note", Frame(str(seq).encode()))


def subscription(stream: RecordedStream, outbox_bytes: int = 1000) -> Subscription:
    return Subscription(Connection("c1", "a1", 1), stream, outbox_bytes, since_ms=0)


def test_live_events_wait_for_the_replay_and_none_is_lost_or_doubled() -> None:
    """Whatever was published while the replay was fetched, the client gets each event once, in order."""
    for resume, read_until, live_from in itertools.product(range(4), range(4, 8), range(1, 8)):
        stream = RecordedStream()
        held = subscription(stream)
        for seq in range(live_from, 9):
            held.deliver(EventId("e", seq), entry(seq).frame)
        missed = tuple(entry(seq) for seq in range(resume + 1, max(read_until, live_from - 1) + 1))
        held.open(Frame(b"open"), Replay(missed, gap=False, resume_id=EventId("e", resume)))
        held.deliver(EventId("e", 9), entry(9).frame)
        assert stream.written == [b"open", *(str(seq).encode() for seq in range(resume + 1, 10))]


def test_nothing_is_written_before_the_opening() -> None:
    """`connected` comes first, broadcasts included."""
    stream = RecordedStream()
    held = subscription(stream)
    held.deliver(None, Frame(b"broadcast"))
    assert stream.written == []
    held.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 0)))
    assert stream.written == [b"open", b"broadcast"]


def test_too_much_held_ends_the_connection_as_slow() -> None:
    """What waits for the opening is bounded too."""
    stream = RecordedStream()
    held = subscription(stream, outbox_bytes=10)
    for _ in range(3):
        held.deliver(None, Frame(b"12345"))
    assert stream.cause is Cause.SLOW


def test_a_users_events_reach_that_users_connections_only() -> None:
    """And a broadcast reaches everyone's; a removed connection gets nothing."""
    everyone = Subscriptions(Metrics())
    streams = {}
    for name, user in (("c1", "a1"), ("c2", "a1"), ("c3", "a2")):
        stream = streams[name] = RecordedStream()
        each = Subscription(Connection(name, user, 1), stream, 1000, since_ms=0)
        everyone.add(each)
        each.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 0)))
    everyone.deliver("a1", entry(1))
    assert everyone.broadcast("all", Frame(b"all")) == 3
    everyone.remove(Connection("c1", "a1", 1))
    everyone.remove(Connection("c1", "a1", 1))
    everyone.deliver("a1", entry(2))
    assert streams["c1"].written == [b"open", b"1", b"all"]
    assert streams["c2"].written == [b"open", b"1", b"all", b"2"]
    assert streams["c3"].written == [b"open", b"all"]
    assert (len(everyone), everyone.count_of("a1"), everyone.count_of("a2")) == (2, 1, 1)


def crowd(size: int, user: str | None = None) -> tuple[Subscriptions, list[RecordedStream]]:
    """So many users with an open connection each; or that one with all of them."""
    everyone, streams = Subscriptions(Metrics()), [RecordedStream() for _ in range(size)]
    for number, stream in enumerate(streams):
        each = Subscription(Connection(f"c{number}", user or f"u{number}", 1), stream, 1000, since_ms=0)
        everyone.add(each)
        each.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 0)))
        stream.written.clear()
    return everyone, streams


@pytest.mark.parametrize("user", [None, "a1"])
async def test_others_have_their_turns_while_very_many_are_told(user: str | None) -> None:
    """A broadcast to fifty thousand would keep everyone else waiting for a tenth of a second."""
    everyone, streams = crowd(2300, user)
    told = []

    def look() -> None:
        told.append(sum(len(stream.written) for stream in streams))
        if told[-1] < len(streams):
            asyncio.get_running_loop().call_soon(look)

    if user is None:
        assert everyone.broadcast("note", Frame(b"1")) == 2300
    else:
        everyone.deliver(user, entry(1))
    look()
    await asyncio.sleep(0)
    while told[-1] < len(streams):
        await asyncio.sleep(0)
    assert all(later - sooner <= 500 for sooner, later in itertools.pairwise([0, *told]))
    assert {tuple(stream.written) for stream in streams} == {(b"1",)}


async def test_one_users_very_many_connections_get_events_in_their_order() -> None:
    """Whatever comes next while one is under way to them: that user's, everyone's, or another's alone."""
    everyone, streams = crowd(2300, "a1")
    other = RecordedStream()
    beside = Subscription(Connection("other", "a2", 1), other, 1000, since_ms=0)
    everyone.add(beside)
    beside.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 0)))
    everyone.deliver("a1", entry(1))
    everyone.deliver("a2", entry(1))
    assert other.written == [b"open", b"1"]
    assert sum(len(stream.written) for stream in streams) == 500, "another user's comes between"
    late = RecordedStream()
    comes = Subscription(Connection("late", "a1", 1), late, 1000, since_ms=0)
    everyone.add(comes)  # the first event is in the log by then
    await asyncio.sleep(0)
    everyone.deliver("a1", entry(2))
    comes.open(Frame(b"open"), Replay((entry(1),), gap=False, resume_id=EventId("e", 0)))
    everyone.broadcast("all", Frame(b"all"))
    everyone.deliver("a1", entry(3))
    everyone.deliver("a1", entry(4))
    everyone.close_all(Cause.SHUTDOWN)
    for _ in range(10):
        await asyncio.sleep(0)
    assert {tuple(stream.written) for stream in streams} == {(b"1", b"2", b"all", b"3", b"4")}
    assert late.written == [b"open", b"1", b"2", b"all", b"3", b"4"]
    assert other.written == [b"open", b"1", b"all"]


async def test_each_connection_gets_events_in_their_order_while_very_many_are_told() -> None:
    """What is sent behind a broadcast that is under way comes behind it, whoever is to be reached yet."""
    everyone, streams = crowd(2300)
    everyone.broadcast("all", Frame(b"first"))
    everyone.deliver("u5", entry(1))
    everyone.deliver("u2299", entry(1))
    late = RecordedStream()
    comes = Subscription(Connection("late", "late", 1), late, 1000, since_ms=0)
    everyone.add(comes)
    comes.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 0)))
    everyone.deliver("late", entry(1))
    await asyncio.sleep(0)
    everyone.broadcast("all", Frame(b"second"))
    everyone.deliver("u2298", entry(1))
    everyone.remove(Connection("c2297", "u2297", 1))
    everyone.tell_each("own", lambda: Frame(b"own"))
    everyone.broadcast("all", Frame(b"last"))
    everyone.close_all(Cause.SHUTDOWN)
    for _ in range(10):
        await asyncio.sleep(0)
    expected = [b"first", b"second", b"own", b"last"]
    assert late.written == [b"open", b"1", *expected[1:]]
    for number, stream in enumerate(streams):
        if number in (5, 2299):
            assert stream.written == [b"first", b"1", *expected[1:]]
        elif number == 2298:
            assert stream.written == [b"first", b"second", b"1", b"own", b"last"]
        elif number == 2297:
            assert stream.written == [b"first", b"second"]
        else:
            assert stream.written == expected


def test_a_users_connections_live_in_the_generation_that_they_are_attached_to_anew() -> None:
    """By its number a departure is told apart; others' connections stay as they are."""
    everyone = Subscriptions(Metrics())
    for name, user in (("c1", "a1"), ("c2", "a1"), ("c3", "a2")):
        everyone.add(Subscription(Connection(name, user, 1), RecordedStream(), 1000, since_ms=0))
    everyone.attached_anew("a1", 7)
    found = {each.connection for user in ("a1", "a2") for each in everyone.of_user(user)}
    assert found == {Connection("c1", "a1", 7), Connection("c2", "a1", 7), Connection("c3", "a2", 1)}
