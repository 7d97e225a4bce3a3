"""Every acknowledged message is in exactly one archive, character for character, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.cluster.checker.history import Archive, History, Said
from tests.cluster.checker.violation import Violation

KEPT = "an acknowledged message is in exactly one archive"
ONCE = "a message is kept once"
OWN = "an archive holds what its user said, and nothing else"
ORDER = "messages are in order"
ANSWERS = "a call is answered as the protocol has it"


@dataclass(frozen=True)
class _Place:
    archive: Archive
    index: int
    content: str

    @property
    def order(self) -> tuple[int, int]:
        return (self.archive.moved_ms, self.index)


def check_messages(history: History) -> Iterator[Violation]:
    """What is wrong with the messages on disk, by what the clients were told."""
    questions: dict[tuple[str, str], list[_Place]] = defaultdict(list)
    replies: dict[str, list[_Place]] = defaultdict(list)
    same: dict[tuple[str, str], list[_Place]] = defaultdict(list)
    for archive in history.archives:
        for index, (role, content, message_id) in enumerate(archive.messages):
            place = _Place(archive, index, content)
            if role == "user":
                questions[archive.user, content].append(place)
            else:
                replies[message_id].append(place)
                same[archive.user, content].append(place)
    said_by: dict[str, list[Said]] = defaultdict(list)
    for said in history.said:
        said_by[said.user].append(said)
        yield from _check_answers(said)
        yield from _check_one(said, questions[said.user, said.text], replies)
        if len(places := same[said.user, said.text]) > 1:
            where = ", ".join(place.archive.id for place in places)
            what = f"{said.key} has {len(places)} replies, in {where}"
            yield Violation(ONCE, said.user, said.over_ms, what)
    yield from _check_foreign(history, said_by)
    for user, all_said in said_by.items():
        yield from _check_order(user, all_said, questions)


def _check_answers(said: Said) -> Iterator[Violation]:
    for each in said.tries:
        if each.status not in (0, 200, 409, 503):
            what = f"{said.key} on node {each.node}: {each.status} {each.body}"
            yield Violation(ANSWERS, said.user, each.begun_ms, what)
        elif each.status == 503 and not each.retry_after:
            what = f"{said.key} on node {each.node}: 503 without Retry-After {each.body}"
            yield Violation(ANSWERS, said.user, each.begun_ms, what)


def _check_one(said: Said, found: list[_Place], replies: dict[str, list[_Place]]) -> Iterator[Violation]:
    where = ", ".join(place.archive.id for place in found)
    if len(found) > 1:
        yield Violation(ONCE, said.user, said.over_ms, f"{said.key} is {len(found)} times in {where}")
    if said.answered_ms is None:
        return
    at = said.answered_ms
    if not found:
        yield Violation(KEPT, said.user, at, f"{said.key}, answered with {said.message_id}, is in no archive")
    answers = replies[said.message_id]
    if not answers:
        what = f"the reply {said.message_id} to {said.key} is in no archive; the question is in {where}"
        yield Violation(KEPT, said.user, at, what)
    elif len(answers) > 1:
        yield Violation(ONCE, said.user, at, f"the reply {said.message_id} is {len(answers)} times")
    for place in answers:
        if place.content != said.reply:
            what = f"the reply {said.message_id} is kept as {place.content!r}, was told as {said.reply!r}"
            yield Violation(KEPT, said.user, at, what)
        if place.archive.conversation != said.conversation:
            what = (
                f"{said.message_id} was told to be in {said.conversation}, is in {place.archive.conversation}"
            )
            yield Violation(KEPT, said.user, at, what)
    if said.reply != said.text and not (not said.whole and said.text.startswith(said.reply)):
        yield Violation(ANSWERS, said.user, at, f"{said.text!r} was answered with {said.reply!r}")


def _check_foreign(history: History, said_by: dict[str, list[Said]]) -> Iterator[Violation]:
    for archive in history.archives:
        texts = {said.text for said in said_by[archive.user]}
        at = archive.moved_ms
        if archive.count != len(archive.messages):
            what = f"{archive.id} says {archive.count} messages, holds {len(archive.messages)}"
            yield Violation(OWN, archive.user, at, what)
        for role, content, message_id in archive.messages:
            if role == "user":
                if content not in texts:
                    yield Violation(
                        OWN, archive.user, at, f"{archive.id} holds {content!r}, which nobody said"
                    )
            elif content not in texts and not any(text.startswith(content) for text in texts):
                what = f"{archive.id} holds the reply {message_id} {content!r}, to nothing that was said"
                yield Violation(OWN, archive.user, at, what)


def _check_order(
    user: str, all_said: list[Said], questions: dict[tuple[str, str], list[_Place]]
) -> Iterator[Violation]:
    """A user's calls come one after the other, so questions lie on disk in that order."""
    placed = [
        (said, places[0])
        for said in sorted(all_said, key=lambda each: each.begun_ms)
        if said.answered_ms is not None and len(places := questions[user, said.text]) == 1
    ]
    for (before, first), (behind, second) in pairwise(placed):
        if first.order > second.order:
            what = (
                f"{before.key} was answered before {behind.key} was sent, but lies behind it: "
                f"{first.archive.id} {first.index}, {second.archive.id} {second.index}"
            )
            yield Violation(ORDER, user, behind.begun_ms, what)
