"""What the troubles of a run excuse, and how far: the bounds that a cluster promises, put in figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from potoserver.engine.valkey.keys import ASK_AGAIN_MS, LEASE_S, RENEWAL_S
from tests.cluster.checker.history import History, Line, Stream, Trouble
from tests.cluster.checker.spans import Span, joined, within, without

SLACK_MS = 150
"""Between what a client sees and what the engine knows, where nothing is in the way."""
LOADED_MS = 5000
"""What may be due to a busy machine: a bound is not broken before that has passed as well."""
LAPSE_MS = round((LEASE_S - RENEWAL_S) * 1000) - 1000
"""A node in trouble for longer than that may be declared dead: it had renewed up to a second before, and
is late by as much again on a busy machine."""
REJOIN_MS = 4000
"""After its trouble a node that was declared dead needs so long to learn it, and to attach what it holds."""
JOIN_MS = 2000
"""Between two troubles a node renews only when so much time lies between them."""
SETTLE_MS = round(LEASE_S * 1000) + ASK_AGAIN_MS + 4000
"""After a trouble: until the lease has lapsed, its homes are offered once more, and those taken over have
been adopted for as long as that takes."""
ALWAYS = 1 << 62


@dataclass(frozen=True)
class Circumstances:
    """A history's troubles, seen from what they may have done."""

    history: History

    @cached_property
    def calm_pauses(self) -> list[Span]:
        """When no bound runs: after a trouble has begun and after it is over, while things settle.

        In between nothing changes: a node that is down or cut off stays so, its users are others' by then.
        """
        pauses = []
        for each in self.history.troubles:
            if each.kind == "reset":
                continue
            begins = (each.begin_ms, each.end_ms) if each.node is not None else (each.end_ms,)
            pauses += [Span(begin, begin + SETTLE_MS) for begin in begins]
            if each.node is None:
                pauses.append(_span(each))
        return joined(pauses)

    @cached_property
    def engine_away(self) -> list[Span]:
        """When the engine was in trouble."""
        return joined(_span(each) for each in self.history.troubles if each.node is None)

    def severed(self, node: int) -> list[Span]:
        """When a node may have been taken for dead, so that what was connected there was not reachable.

        The engine's own silence kills nobody, but a node's trouble that goes on into it, or comes of it, may
        be longer for it.
        """
        return self._severed[node]

    @cached_property
    def _severed(self) -> list[list[Span]]:
        return [self._severed_of(node) for node in range(self.history.nodes)]

    def _severed_of(self, node: int) -> list[Span]:
        own = [_span(each) for each in self.history.troubles if each.node == node]
        found = []
        for span in joined([*own, *self.engine_away], over=JOIN_MS):
            if span.length >= LAPSE_MS and within(own, span):
                found.append(Span(span.begin, span.end + REJOIN_MS))
        return joined(found)

    def sound(self, stream: Stream) -> list[Span]:
        """When a stream was open, its client alive, and its node reachable."""
        return self._sound[id(stream)]

    @cached_property
    def _sound(self) -> dict[int, list[Span]]:
        return {id(stream): self._sound_of(stream) for stream in self.history.streams}

    def _sound_of(self, stream: Stream) -> list[Span]:
        if stream.opened_ms is None:
            return []
        end = stream.closed_ms if stream.silent_ms is None else stream.silent_ms
        return without([Span(stream.opened_ms, end)], self.severed(stream.node))

    def present(self, user: str) -> list[Span]:
        """When a user had a sound stream."""
        return self._present.get(user, [])

    @cached_property
    def _present(self) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        for stream in self.history.streams:
            found.setdefault(stream.user, []).extend(self.sound(stream))
        return {user: joined(spans) for user, spans in found.items()}

    def moved_between(self, begin_ms: int, end_ms: int) -> list[Trouble]:
        """The troubles through which a home may have moved, in the time or up to a lapse before it."""
        return [
            each
            for each in self.history.troubles
            if each.kind != "reset"
            and each.begin_ms <= end_ms
            and each.end_ms + SETTLE_MS >= begin_ms
            and (each.node is None or each.kind in ("kill", "term") or _lapses(each, self.severed(each.node)))
        ]

    def no_successor(self, line: Line) -> bool:
        """Whether a node that says so may have been the last one that lived."""
        at = line.at_ms
        if at >= self.history.stop_ms - SLACK_MS:
            return True
        others = set(range(self.history.nodes)) - {line.node}
        near = [
            each for each in self.history.troubles if each.begin_ms <= at <= each.end_ms + REJOIN_MS + 6000
        ]
        return any(each.node is None for each in near) or others <= {each.node for each in near}


def _lapses(trouble: Trouble, severed: list[Span]) -> bool:
    return any(span.begin <= trouble.begin_ms < span.end for span in severed)


def _span(trouble: Trouble) -> Span:
    return Span(trouble.begin_ms, max(trouble.end_ms, trouble.begin_ms + 1))
