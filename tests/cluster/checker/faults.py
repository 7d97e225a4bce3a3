"""No node logs a fault, but what a trouble explains; no client meets what none is ever to meet."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.checker.circumstances import SETTLE_MS
from tests.cluster.checker.history import History
from tests.cluster.checker.spans import Span, joined
from tests.cluster.checker.violation import Violation

NO_FAULT = "no node logs a fault that no trouble explains"
_AWAY = (
    "UnavailableError",
    "CutOffError",
    "FencedError",
    "HeldElsewhereError",
    "Another node of the server is at your dialogs",  # the same, as a node tells another one
    "not done within",
    "left for the next start",
    "reached",
    "have moved",
)
"""How faults are told that pass by themselves: the engine or the home is away, or so slow."""
_BUSY = ("'hook': 'connected_fields', 'error': 'not done within 1 s'",)
"""Bounds of less than `LOADED_MS`: a busy machine breaks them without any trouble."""


def check_faults(history: History) -> Iterator[Violation]:
    """The faults that are no consequence of the engine or the home being away."""
    troubled = joined(Span(each.begin_ms, each.end_ms + SETTLE_MS) for each in history.troubles)
    for line in history.lines:
        if not line.fault or any(text in line.about for text in _BUSY):
            continue
        passes = any(name in line.about for name in _AWAY)
        if passes and any(span.holds(line.at_ms) for span in troubled):
            continue
        what = f"node {line.node}: {line.event} {line.about}"
        yield Violation(NO_FAULT, line.user or "nobody", line.at_ms, what)
