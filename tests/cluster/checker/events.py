"""No event is lost, doubled or out of order to any client that was not told of a gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from potoserver.events import EventId
from tests.cluster.checker.circumstances import Circumstances
from tests.cluster.checker.history import Got, History, Said, Stream
from tests.cluster.checker.violation import Violation

LOST = "no event is lost to a client that was not told of a gap"
DOUBLED = "no event comes twice, or out of order"
RESUMED = "a stream goes on from where its client was"
KEPT_IN_LOG = ("message", "archived")
"""Events that nothing replaces in the log: who goes on over them gets each."""
NOT_PUBLISHED = "event not published"
_MARGIN_MS = 3000


@dataclass
class Run:
    """What one tab got from one gap to the next.

    Attributes:
        since_ms: When it began: from then on it was connected, or came back for what it had missed.
        begin: The id from which it went on.
        got: All that it got, over its streams.
    """

    user: str
    tab: int
    since_ms: int
    begin: EventId
    got: list[Got] = field(default_factory=list)

    @property
    def end(self) -> EventId:
        """How far it has come."""
        return _id(self.got[-1].id) if self.got else self.begin


def check_events(history: History) -> Iterator[Violation]:
    """What is wrong with what the streams brought."""
    runs: list[Run] = []
    yield from _follow_all(history, runs)
    yield from _check_missed(history, runs)


def count_untold(history: History) -> int:
    """How many replies there are that a tab should have been told of, and never was; see `never_told`."""
    runs: list[Run] = []
    list(_follow_all(history, runs))
    return len({said.key for _, said in _untold(history, runs)} & {said.key for said in never_told(history)})


def _follow_all(history: History, runs: list[Run]) -> Iterator[Violation]:
    by_tab: dict[tuple[str, int], list[Stream]] = defaultdict(list)
    for stream in history.streams:
        by_tab[stream.user, stream.tab].append(stream)
    for streams in by_tab.values():
        yield from _follow(sorted(streams, key=lambda each: each.asked_ms), runs)


def _follow(streams: list[Stream], runs: list[Run]) -> Iterator[Violation]:
    """Puts a tab's streams together, run by run."""
    run: Run | None = None
    for stream in streams:
        if stream.opened_ms is None:
            continue
        if stream.after is None or stream.gap or run is None:
            run = Run(stream.user, stream.tab, stream.opened_ms, _id(stream.id))
            runs.append(run)
        elif stream.id != stream.after:
            what = f"tab {stream.tab} asked for what came after {stream.after}, was told {stream.id}, no gap"
            yield Violation(RESUMED, stream.user, stream.opened_ms, what)
        messages = {got.message_id for got in run.got if got.type == "message"}
        for got in stream.got:
            before, this = run.end, _id(got.id)
            if this.epoch != before.epoch or this.seq <= before.seq:
                what = f"tab {stream.tab} got {got.type} {got.id} after {before}"
                yield Violation(DOUBLED, stream.user, got.at_ms, what)
            if got.type == "message" and got.message_id in messages:
                what = f"tab {stream.tab} got the message {got.message_id} twice"
                yield Violation(DOUBLED, stream.user, got.at_ms, what)
            messages.add(got.message_id if got.type == "message" else None)
            run.got.append(got)


def _check_missed(history: History, runs: list[Run]) -> Iterator[Violation]:
    known: dict[tuple[str, str], dict[int, Got]] = defaultdict(dict)
    for run in runs:
        for got in run.got:
            if got.type in KEPT_IN_LOG:
                this = _id(got.id)
                known[run.user, this.epoch].setdefault(this.seq, got)
    for run in runs:
        have = {_id(got.id).seq for got in run.got}
        for seq, got in sorted(known[run.user, run.begin.epoch].items()):
            if run.begin.seq < seq < run.end.seq and seq not in have:
                what = f"tab {run.tab} went on from {run.begin} to {run.end} without {got.type} {got.id}"
                yield Violation(LOST, run.user, got.at_ms, what)
    excused = {said.key for said in never_told(history)}
    for run, said in _untold(history, runs):
        if said.key not in excused and said.answered_ms is not None:
            what = (
                f"tab {run.tab} was not told of {said.message_id}, the reply to {said.key}, but of later ones"
            )
            yield Violation(LOST, run.user, said.answered_ms, what)


def _untold(history: History, runs: list[Run]) -> Iterator[tuple[Run, Said]]:
    """Replies that a tab should have been told of.

    Each is published before it is answered: who has got what was said later has got it, too.
    """
    said_by: dict[str, list[Said]] = defaultdict(list)
    for said in history.said:
        if said.answered_ms is not None:
            said_by[said.user].append(said)
    for run in runs:
        have = {got.message_id for got in run.got if got.type == "message"}
        since = [said for said in said_by[run.user] if said.begun_ms > run.since_ms]
        newest_ms = max((said.begun_ms for said in since if said.message_id in have), default=0)
        for said in since:
            if said.message_id not in have and said.answered_ms is not None and said.answered_ms < newest_ms:
                yield run, said


def never_told(history: History) -> list[Said]:
    """Replies that are kept and answered, but were never published.

    The home died between keeping the reply and publishing it, or the engine was away by then. No tab gets
    such a reply, and none is told of a gap: a hole that is known, and counted apart.
    """
    told = {got.message_id for stream in history.streams for got in stream.got if got.type == "message"}
    circumstances = Circumstances(history)
    unpublished: dict[str, list[int]] = defaultdict(list)
    for line in history.lines:
        if line.event == NOT_PUBLISHED:
            unpublished[line.user].append(line.at_ms)
    return [
        said
        for said in history.said
        if said.answered_ms is not None
        and said.message_id not in told
        and (
            circumstances.moved_between(said.begun_ms, said.answered_ms)
            or any(
                said.begun_ms - _MARGIN_MS <= at <= said.over_ms + _MARGIN_MS for at in unpublished[said.user]
            )
        )
    ]


def _id(text: str) -> EventId:
    event_id = EventId.parse(text)
    assert event_id is not None, text
    return event_id
