"""The ends of streams whose tokens expire, all by one timer."""

from __future__ import annotations

from potoserver.engine.presence import Cause
from potoserver.expiries import Expiries
from potoserver.module.base import Connection
from potoserver.subscriptions import StreamListener, Subscription
from tests.core.test_subscriptions import RecordedStream
from tests.support.clock import ManualClock


class HeardStream(RecordedStream):
    """A wire whose end somebody is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.listener: StreamListener | None = None

    def listen(self, listener: StreamListener) -> None:
        self.listener = listener

    def close(self, cause: Cause) -> None:
        if self.cause is None:
            super().close(cause)
            assert self.listener is not None
            self.listener.on_lost(cause)


class Room:
    """Subscriptions that expire, and what has become of them."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.expiries = Expiries(clock)
        self.ended: list[tuple[str, Cause]] = []

    def open(self, name: str, expires_in_s: float | None) -> Subscription:
        expires_ms = None if expires_in_s is None else self._clock.wall_ms() + round(expires_in_s * 1000)
        connection = Connection(name, "a1", 1)
        subscription = Subscription(connection, HeardStream(), 1000, since_ms=0, expires_ms=expires_ms)
        self.expiries.add(subscription)
        subscription.listen(self._ended)
        return subscription

    def _ended(self, subscription: Subscription, cause: Cause) -> None:
        self.expiries.remove(subscription)
        self.ended.append((subscription.connection.id, cause))


async def test_each_stream_ends_when_its_own_token_expires(clock: ManualClock) -> None:
    """Whatever the order in which they came; one without an end stays."""
    room = Room(clock)
    for name, expires_in_s in (("c5", 5), ("c2", 2), ("for ever", None), ("c9", 9), ("c2 too", 2)):
        room.open(name, expires_in_s)
    await clock.advance(1.999)
    assert room.ended == []
    await clock.advance(0.001)
    assert sorted(room.ended) == [("c2", Cause.EXPIRED), ("c2 too", Cause.EXPIRED)]
    await clock.advance(6.999)
    assert room.ended[2:] == [("c5", Cause.EXPIRED)]
    await clock.advance(100)
    assert room.ended[3:] == [("c9", Cause.EXPIRED)]
    assert len(room.expiries) == 0


async def test_a_stream_that_ended_before_is_not_kept_until_its_token_expires(clock: ManualClock) -> None:
    """Connections come and go all day with tokens that hold for a year."""
    room = Room(clock)
    staying = room.open("staying", 1000)
    for number in range(100):
        room.open(f"c{number}", 2000 - number).stream.close(Cause.CLOSED)
        assert len(room.expiries) <= 3
    assert {cause for _, cause in room.ended} == {Cause.CLOSED}
    await clock.advance(1000)
    assert room.ended[100:] == [("staying", Cause.EXPIRED)]
    assert staying.ended
    assert len(room.expiries) == 0


async def test_those_that_ended_take_nothing_from_those_that_did_not(clock: ManualClock) -> None:
    """Of many, some end before, some at the same moment: each of the others ends at its own."""
    room = Room(clock)
    opened = [room.open(f"c{number}", 10 + number % 7) for number in range(50)]
    for subscription in opened[::3]:
        subscription.stream.close(Cause.RESET)
    for number in range(7):
        await clock.advance(10 if number == 0 else 1)
        expired = {name for name, cause in room.ended if cause is Cause.EXPIRED}
        assert expired == {f"c{each}" for each in range(50) if each % 3 and each % 7 <= number}
    assert len(room.expiries) == 0


async def test_wall_time_that_is_stepped_is_followed_within_a_minute(clock: ManualClock) -> None:
    """Tokens expire by the clocks of others."""
    room = Room(clock)
    room.open("c1", 3600)
    clock.step_wall(3600_000)
    await clock.advance(60)
    assert room.ended == [("c1", Cause.EXPIRED)]
