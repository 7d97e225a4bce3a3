"""Of what is kept every tab is told that was there, or returned for what it had missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.cluster.checker.circumstances import LOADED_MS, Circumstances
from tests.cluster.checker.history import History, Said
from tests.cluster.checker.spans import Span, after
from tests.cluster.checker.tabs import Run, runs_of
from tests.cluster.checker.violation import Violation

TOLD = "who is there is told of each message that is kept, or of a gap"
NOT_PUBLISHED = "event not published"
_MARGIN_MS = 3000


@dataclass(frozen=True)
class _Kept:
    """A message on disk.

    Attributes:
        said: What it belongs to.
        message_id: Its id.
        answered: It is the reply that the caller got.
    """

    said: Said
    message_id: str
    answered: bool

    def __str__(self) -> str:
        return f"{self.message_id}, {'the reply to' if self.answered else 'kept of'} {self.said.key}"


def check_untold(history: History) -> Iterator[Violation]:
    """The messages that a tab should have been told of and was not, though nobody told it of a gap."""
    circumstances = Circumstances(history)
    kept_by = _kept_by_user(history)
    told = {got.message_id for run in runs_of(history) for got in run.got if got.type == "message"}
    late = {
        kept.message_id
        for of_user in kept_by.values()
        for kept in of_user
        if kept.message_id not in told and _may_be_late(circumstances, kept.said)
    }
    for run in runs_of(history):
        yield from _check_run(circumstances, run, kept_by[run.user], late)


def _kept_by_user(history: History) -> Mapping[str, Sequence[_Kept]]:
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for archive in history.archives:
        for _, content, message_id in archive.messages:
            ids[archive.user, content].add(message_id)
    found: dict[str, list[_Kept]] = defaultdict(list)
    for said in history.said:
        answer = said.message_id if said.answered_ms is not None else ""
        for message_id in sorted(ids[said.user, said.text] | ({answer} - {""})):
            found[said.user].append(_Kept(said, message_id, answered=message_id == answer))
    return found


def _may_be_late(circumstances: Circumstances, said: Said) -> bool:
    """Whether it could not be published at once: its home died just then, or the engine was away.

    Then the next home does so, or the same one, or tells of a gap.
    """
    failed = [
        line.at_ms
        for line in circumstances.history.lines
        if line.event == NOT_PUBLISHED and line.user == said.user
    ]
    return any(said.begun_ms - _MARGIN_MS <= at <= said.over_ms + _MARGIN_MS for at in failed) or bool(
        circumstances.moved_between(said.begun_ms, said.over_ms)
    )


def _check_run(
    circumstances: Circumstances, run: Run, all_kept: Sequence[_Kept], late: set[str]
) -> Iterator[Violation]:
    have = run.messages()
    time = Span(run.since_ms + 1, run.streams[-1].closed_ms)
    since = [kept for kept in all_kept if time.holds(kept.said.begun_ms)]
    newest_ms = max((kept.said.begun_ms for kept in since if kept.message_id in have), default=0)
    for kept in since:
        if kept.message_id in have:
            continue
        said = kept.said
        if kept.answered and said.over_ms < newest_ms and kept.message_id not in late:
            # It is published before it is answered: who got what was said later has got it, too.
            what = f"tab {run.tab} was not told of {kept}, but of later ones"
            yield Violation(TOLD, run.user, said.over_ms, what)
        elif _stayed(circumstances, run, after(said.over_ms, LOADED_MS, circumstances.calm_pauses)):
            yield Violation(TOLD, run.user, said.over_ms, f"tab {run.tab} was never told of {kept}")


def _stayed(circumstances: Circumstances, run: Run, due_ms: int) -> bool:
    """Whether the tab was connected when all was due, or came back later for what it had missed."""
    return any(
        span.end >= max(due_ms, span.begin + LOADED_MS)
        for stream in run.streams
        for span in circumstances.sound(stream)
    )
