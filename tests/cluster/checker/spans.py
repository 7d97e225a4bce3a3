"""Stretches of time, [begin, end) in ms: joined, cut out, measured."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """One stretch."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.begin

    def holds(self, at: int) -> bool:
        """Whether a moment lies in it."""
        return self.begin <= at < self.end


def joined(spans: Iterable[Span], over: int = 0) -> list[Span]:
    """The same time in order and apart; what is no more than `over` apart is joined, the time between too."""
    found: list[Span] = []
    for span in sorted(span for span in spans if span.length > 0):
        if found and span.begin <= found[-1].end + over:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def without(spans: Iterable[Span], cut: Iterable[Span]) -> list[Span]:
    """What is left of spans when others are cut out."""
    holes = joined(cut)
    found: list[Span] = []
    for span in joined(spans):
        begin = span.begin
        for hole in holes[bisect_right(holes, begin, key=lambda hole: hole.end) :]:
            if hole.begin >= span.end:
                break
            if hole.begin > begin:
                found.append(Span(begin, hole.begin))
            begin = hole.end
        if begin < span.end:
            found.append(Span(begin, span.end))
    return found


def within(spans: Iterable[Span], bounds: Span) -> list[Span]:
    """The parts of spans that lie in the bounds."""
    cut = (Span(max(span.begin, bounds.begin), min(span.end, bounds.end)) for span in spans)
    return joined(cut)


def after(begin: int, length: int, pauses: Sequence[Span]) -> int:
    """When so much time has passed from a moment on, what lies in the pauses (joined) not counted."""
    at, left = begin, length
    for pause in pauses:
        if pause.end <= at:
            continue
        if pause.begin - at >= left:
            break
        left -= max(0, pause.begin - at)
        at = pause.end
    return at + left
