"""No event is lost, doubled or out of order to any client that was not told of a gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.cluster.checker.history import Got, History
from tests.cluster.checker.tabs import Run, id_of, runs_of
from tests.cluster.checker.violation import Violation

LOST = "no event is lost to a client that was not told of a gap"
DOUBLED = "no event comes twice, or out of order"
RESUMED = "a stream goes on from where its client was"
KEPT_IN_LOG = ("message", "archived")
"""Events that nothing replaces in the log: who goes on over them gets each."""


def check_events(history: History) -> Iterator[Violation]:
    """What is wrong with what the streams brought."""
    runs = runs_of(history)
    for run in runs:
        yield from _follow(run)
    yield from _check_missed(runs)


def _follow(run: Run) -> Iterator[Violation]:
    """Whether it goes on from stream to stream, and from event to event."""
    before = run.begin
    messages: set[str | None] = set()
    for stream in run.streams:
        if stream is not run.streams[0] and stream.id != stream.after:
            what = f"tab {run.tab} asked for what came after {stream.after}, was told {stream.id}, no gap"
            yield Violation(RESUMED, run.user, stream.opened_ms or 0, what)
        for got in stream.got:
            this = id_of(got.id)
            if this.epoch != before.epoch or this.seq <= before.seq:
                what = f"tab {run.tab} got {got.type} {got.id} after {before}"
                yield Violation(DOUBLED, run.user, got.at_ms, what)
            if got.type == "message" and got.message_id in messages:
                what = f"tab {run.tab} got the message {got.message_id} twice"
                yield Violation(DOUBLED, run.user, got.at_ms, what)
            if got.type == "message":
                messages.add(got.message_id)
            before = this


def _check_missed(runs: Sequence[Run]) -> Iterator[Violation]:
    known: dict[tuple[str, str], dict[int, Got]] = defaultdict(dict)
    for run in runs:
        for got in run.got:
            if got.type in KEPT_IN_LOG:
                this = id_of(got.id)
                known[run.user, this.epoch].setdefault(this.seq, got)
    for run in runs:
        have = {id_of(got.id).seq for got in run.got}
        for seq, got in sorted(known[run.user, run.begin.epoch].items()):
            if run.begin.seq < seq < run.end.seq and seq not in have:
                what = f"tab {run.tab} went on from {run.begin} to {run.end} without {got.type} {got.id}"
                yield Violation(LOST, run.user, got.at_ms, what)
