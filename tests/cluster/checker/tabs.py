"""What each tab got, put together over its streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from potoserver.events import EventId
from tests.cluster.checker.history import Got, History, Stream


@dataclass
class Run:
    """What one tab got from one gap to the next.

    Attributes:
        since_ms: When it began: from then on it was connected, or came back for what it had missed.
        begin: The id from which it went on.
        streams: All that it had, in order.
    """

    user: str
    tab: int
    since_ms: int
    begin: EventId
    streams: list[Stream] = field(default_factory=list)

    @property
    def got(self) -> Iterator[Got]:
        """All that it got."""
        return (got for stream in self.streams for got in stream.got)

    @property
    def end(self) -> EventId:
        """How far it has come."""
        last = next((stream.got[-1] for stream in reversed(self.streams) if stream.got), None)
        return self.begin if last is None else id_of(last.id)

    def messages(self) -> set[str | None]:
        """The messages that it was told of."""
        return {got.message_id for got in self.got if got.type == "message"}


def runs_of(history: History) -> list[Run]:
    """All of them."""
    by_tab: dict[tuple[str, int], list[Stream]] = defaultdict(list)
    for stream in history.streams:
        if stream.opened_ms is not None:
            by_tab[stream.user, stream.tab].append(stream)
    found: list[Run] = []
    for streams in by_tab.values():
        for number, stream in enumerate(sorted(streams, key=lambda each: each.asked_ms)):
            if not number or stream.after is None or stream.gap:
                assert stream.opened_ms is not None
                found.append(Run(stream.user, stream.tab, stream.opened_ms, id_of(stream.id)))
            found[-1].streams.append(stream)
    return found


def id_of(text: str) -> EventId:
    """An event's id, by its text."""
    event_id = EventId.parse(text)
    assert event_id is not None, text
    return event_id
