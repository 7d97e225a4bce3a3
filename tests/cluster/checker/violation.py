"""A broken promise, with what shows it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from tests.cluster.checker.history import History

_AROUND_MS = 12_000
_MOST_LINES = 60


@dataclass(frozen=True)
class Violation:
    """One.

    Attributes:
        promise: Which, in a few words, the same for all of the kind.
        user: Whose.
        at_ms: When; 0 where that can't be told.
        what: What was found.
    """

    promise: str
    user: str
    at_ms: int
    what: str

    def __str__(self) -> str:
        at = f" at {clock_of(self.at_ms)}" if self.at_ms else ""
        return f"{self.promise}: {self.user}{at}: {self.what}"


def clock_of(at_ms: int) -> str:
    """A moment as it stands in the logs."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.strftime("%H:%M:%S.") + f"{at_ms % 1000:03}"


def story(history: History, user: str, at_ms: int) -> list[str]:
    """What is known of a user around a moment, line by line in the order of time."""
    told: list[tuple[int, str]] = []
    for trouble in history.troubles:
        whom = "engine" if trouble.node is None else f"node {trouble.node}"
        told.append((trouble.begin_ms, f"** {whom}: {trouble.kind} {trouble.about}"))
        told.append((trouble.end_ms, f"** {whom}: {trouble.kind} over"))
    for stream in history.streams:
        if stream.user != user:
            continue
        name = f"tab {stream.tab} on node {stream.node}"
        told.append((stream.asked_ms, f"{name}: asks, after {stream.after}"))
        if stream.opened_ms is not None:
            how = f"{stream.connection}, {stream.conversation}, resumed {stream.resumed}, gap {stream.gap}"
            told.append((stream.opened_ms, f"{name}: connected at {stream.id}, {how}"))
        if stream.silent_ms is not None:
            told.append((stream.silent_ms, f"{name}: falls silent"))
        told.append((stream.closed_ms, f"{name}: {stream.why}"))
        told += [(got.at_ms, f"{name}: {got.type} {got.id} {got.message_id or ''}") for got in stream.got]
    for said in history.said:
        if said.user == user:
            told += [
                (each.begun_ms, f"says {said.key} on node {each.node}: {each.status} {each.body}")
                for each in said.tries
            ]
            if said.answered_ms is not None:
                told.append((said.answered_ms, f"{said.key}: {said.message_id} in {said.conversation}"))
    for asked in history.asked:
        if asked.user == user:
            told.append((asked.begun_ms, f"ends the session on node {asked.node}: {asked.status}"))
    for line in history.lines:
        if line.user == user:
            about = f"{line.conversation} {line.reason} {line.about}"
            told.append((line.at_ms, f"   node {line.node}: {line.event} {about}"))
    for archive in history.archives:
        if archive.user == user:
            about = f"{archive.id} {archive.conversation} {archive.reason} with {archive.count} messages"
            told.append((archive.moved_ms, f"   archive {about}"))
    near = [each for each in sorted(told) if not at_ms or abs(each[0] - at_ms) <= _AROUND_MS]
    near = near if at_ms else near[-_MOST_LINES:]
    middle = next((number for number, each in enumerate(near) if each[0] >= at_ms), 0)
    near = near[max(0, middle - _MOST_LINES) : middle + _MOST_LINES]
    return [f"{clock_of(at)} {text}" for at, text in near]
