"""What happens to open streams when the engine has lost events of theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from potoserver.core import Core
from potoserver.engine.base import Replay
from potoserver.engine.presence import Cause
from potoserver.engine_listener import CoreListener
from potoserver.events import EventId, Frame
from potoserver.metrics import Metrics
from potoserver.module.base import Connection
from potoserver.subscriptions import Subscription, Subscriptions
from tests.core.test_subscriptions import RecordedStream, entry
from tests.support.clock import ManualClock

_RETRY_MS = 1000


class Kit:
    """So many users with a stream each, of one node."""

    def __init__(self, users: int) -> None:
        self.clock = ManualClock()
        self.subscriptions = Subscriptions(Metrics())
        parts: Any = SimpleNamespace(
            clock=self.clock,
            subscriptions=self.subscriptions,
            settings=SimpleNamespace(retry_ms=_RETRY_MS),
        )
        self.listener = CoreListener(cast(Core, parts))
        self.streams = {f"u{number}": RecordedStream() for number in range(users)}
        for user_id, stream in self.streams.items():
            subscription = Subscription(Connection(f"c-{user_id}", user_id, 1), stream, 1000, since_ms=0)
            self.subscriptions.add(subscription)

    def open(self) -> None:
        for subscription in self.subscriptions:
            subscription.open(Frame(b"open"), Replay((), gap=False, resume_id=EventId("e", 1)))

    def open_count(self) -> int:
        return sum(stream.cause is None for stream in self.streams.values())


async def test_streams_with_a_gap_end_one_after_the_other_within_a_bound() -> None:
    """An engine that has lost its data would else bring everybody back in the same moment."""
    kit = Kit(300)
    kit.open()
    for user_id in kit.streams:
        kit.listener.on_gap(user_id)
    assert kit.open_count() == 300
    left = []
    for _ in range(3):
        await kit.clock.advance(_RETRY_MS / 1000)
        left.append(kit.open_count())
    assert 100 < left[0] < 290
    assert 10 < left[1] < left[0] - 10
    assert left[2] == 0
    assert {stream.cause for stream in kit.streams.values()} == {Cause.KICKED}


async def test_no_later_event_hides_a_gap_while_the_stream_waits_for_its_end() -> None:
    """With its id the client would come back as if it had missed nothing; what has no id still comes."""
    kit = Kit(1)
    kit.open()
    kit.listener.on_gap("u0")
    kit.subscriptions.deliver("u0", entry(7))
    kit.subscriptions.broadcast("notice", Frame(b"to all"))
    assert kit.streams["u0"].written == [b"open", b"to all"]
