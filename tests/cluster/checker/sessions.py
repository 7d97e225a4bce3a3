"""Each conversation ends once, for a reason that the history explains, in time, while nobody is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from tests.cluster.checker.circumstances import (
    ALWAYS,
    LOADED_MS,
    SETTLE_MS,
    SLACK_MS,
    Circumstances,
)
from tests.cluster.checker.history import Archive, History, Line, Said, Stream
from tests.cluster.checker.spans import Span, after, joined, without
from tests.cluster.checker.violation import Violation

ARCHIVED_ONCE = "a conversation is archived once"
EXPLAINED = "a conversation ends for a reason that the history explains"
NOT_WHILE_THERE = "no session ends while one of its connections is alive and reachable"
IN_TIME = "every end comes within its bound"
ONE_AT_A_TIME = "a user has one session at a time"
LISTED = "a user's archives are listed in the order of their ends"
LEASE = "a client that falls silent is noticed within its lease"
NOTHING_LEFT = "nothing is left when everybody has gone"
STARTED, ENDED, ADOPTED = "session started", "session ended", "session adopted"


@dataclass
class Conversation:
    """What is known of one.

    Attributes:
        first_ms: The first that anybody knows of it.
        started: Whether its start was logged, so that `first_ms` is that.
        ends: Lines that say that it ended.
    """

    id: str
    user: str
    first_ms: int
    started: bool = False
    ends: list[Line] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)

    @cached_property
    def end(self) -> Line | None:
        """The end that counts: that of the archive, else the last one that was said."""
        if not self.archives:
            return self.ends[-1] if self.ends else None
        archive = self.archives[0]
        for line in reversed(self.ends):
            if line.reason == archive.reason and line.at_ms <= archive.moved_ms + SLACK_MS:
                return line
        return Line(-1, archive.footed_ms, ENDED, self.user, self.id, archive.reason)


def conversations_of(history: History) -> dict[str, Conversation]:
    """All that anybody was told of, by id."""
    found: dict[str, Conversation] = {}

    def see(conversation_id: str, user: str, at_ms: int) -> Conversation:
        known = found.setdefault(conversation_id, Conversation(conversation_id, user, at_ms))
        if not known.started:
            known.first_ms = min(known.first_ms, at_ms)
        return known

    for line in sorted(history.lines, key=lambda each: each.at_ms):
        if line.conversation and line.user:
            known = see(line.conversation, line.user, line.at_ms)
            if line.event == STARTED and not known.started:
                known.started, known.first_ms = True, line.at_ms
            if line.event == ENDED:
                known.ends.append(line)
    for stream in history.streams:
        if stream.conversation is not None and stream.opened_ms is not None:
            see(stream.conversation, stream.user, stream.opened_ms)
    for said in history.said:
        if said.answered_ms is not None:
            see(said.conversation, said.user, said.answered_ms)
    for archive in history.archives:
        see(archive.conversation, archive.user, archive.footed_ms).archives.append(archive)
    return found


def check_sessions(history: History) -> Iterator[Violation]:
    """What is wrong with the ends of sessions."""
    circumstances = Circumstances(history)
    conversations = conversations_of(history)
    by_user: dict[str, list[Conversation]] = defaultdict(list)
    streams_of: dict[str, list[Stream]] = defaultdict(list)
    for each in conversations.values():
        by_user[each.user].append(each)
    for stream in history.streams:
        streams_of[stream.user].append(stream)
    calls = _calls_of(history)
    answered: dict[str, list[Said]] = defaultdict(list)
    for said in history.said:
        if said.answered_ms is not None:
            answered[said.user].append(said)
    for conversation in conversations.values():
        if len(conversation.archives) > 1:
            ids = ", ".join(archive.id for archive in conversation.archives)
            at = max(archive.moved_ms for archive in conversation.archives)
            yield Violation(ARCHIVED_ONCE, conversation.user, at, f"{conversation.id} is in {ids}")
        yield from _check_there(circumstances, conversation, streams_of[conversation.user])
        user = conversation.user
        yield from _check_reason(circumstances, conversation, answered[user], calls[user])
    for user, of_user in by_user.items():
        yield from _check_bounds(circumstances, user, of_user, streams_of[user], calls[user])
    yield from _check_one_at_a_time(history)
    yield from _check_listing(history)
    yield from _check_leases(circumstances)
    for what in history.left:
        yield Violation(NOTHING_LEFT, what.partition(" ")[0], 0, what)


def _calls_of(history: History) -> dict[str, list[Span]]:
    """By user, when calls were under way that are activity."""
    found: dict[str, list[Span]] = defaultdict(list)
    for said in history.said:
        found[said.user] += [
            Span(each.begun_ms, max(each.ended_ms, each.begun_ms + 1)) for each in said.tries
        ]
    return found


def _is_excused(circumstances: Circumstances, line: Line, *, archived: bool) -> bool:
    """Whether a node that was no home any more may have said so: then nothing has come of it."""
    if archived or line.node < 0:
        return False
    return any(span.holds(line.at_ms) for span in circumstances.severed(line.node))


def _check_there(
    circumstances: Circumstances, conversation: Conversation, streams: list[Stream]
) -> Iterator[Violation]:
    end = conversation.end
    if end is None or end.reason in ("request", "shutdown"):
        return
    if _is_excused(circumstances, end, archived=bool(conversation.archives)):
        return
    for stream in streams:
        if stream.opened_ms is None or not stream.opened_ms < end.at_ms < stream.closed_ms:
            continue
        belongs = stream.conversation == conversation.id or stream.opened_ms < conversation.first_ms
        if belongs and any(
            span.begin + (SLACK_MS if span.begin == stream.opened_ms else SETTLE_MS)
            < end.at_ms
            < span.end - SLACK_MS
            for span in circumstances.sound(stream)  # an end that its node's trouble has led to may come late
        ):
            where = f"{stream.connection} was there, on node {stream.node}"
            what = f"{conversation.id} ended ({end.reason}) while {where}"
            yield Violation(NOT_WHILE_THERE, conversation.user, end.at_ms, what)


def _check_reason(
    circumstances: Circumstances, conversation: Conversation, answered: list[Said], calls: list[Span]
) -> Iterator[Violation]:
    end = conversation.end
    if end is None or _is_excused(circumstances, end, archived=bool(conversation.archives)):
        return
    why = _why_unexplained(circumstances, conversation, end, answered, calls)
    if why:
        what = f"{conversation.id} ended for {end.reason} on node {end.node}, but {why}"
        yield Violation(EXPLAINED, conversation.user, end.at_ms, what)


def _why_unexplained(
    circumstances: Circumstances,
    conversation: Conversation,
    end: Line,
    answered: list[Said],
    calls: list[Span],
) -> str:
    history, user = circumstances.history, conversation.user
    grace_ms = history.rules.grace_ms
    if end.reason in ("disconnect", "recovered"):
        begin = conversation.first_ms if conversation.started else 0
        absent = without([Span(0, end.at_ms + SLACK_MS)], circumstances.present(user))
        # Who was away when it began and never came counts as away from before: it was begun for who had left.
        longest = max(
            span.end - (span.begin if span.end > end.at_ms else max(span.begin, begin)) for span in absent
        )
        if longest < grace_ms - SLACK_MS:
            return f"the user was never away for the grace, at most for {longest} ms"
        if end.reason == "recovered" and not circumstances.moved_between(begin, end.at_ms):
            return "nothing befell its home"
        return ""
    if end.reason == "timeout":
        quiet = Span(end.at_ms - history.rules.timeout_ms + SLACK_MS, end.at_ms - SLACK_MS)
        called = [each for each in answered if each.conversation == conversation.id]
        if any(quiet.holds(each.begun_ms) for each in called):
            return "there were calls in the time"
        seen_ms = max((span.end for span in circumstances.present(user) if span.begin < end.at_ms), default=0)
        if any(pause.begin <= end.at_ms and seen_ms < pause.end for pause in circumstances.calm_pauses):
            return ""  # the departure may have been late, or not at all where the engine lost what it knew
        if end.at_ms < seen_ms + grace_ms + SLACK_MS:
            return ""
        if not any(call.end + SLACK_MS >= seen_ms and call.begin < end.at_ms for call in calls):
            return "nobody had called in the grace, or without a connection"
        return ""
    if end.reason == "request":
        for asked in history.asked:
            over = asked.ended_ms if asked.status == 200 else ALWAYS
            if asked.user == user and asked.begun_ms <= end.at_ms <= over + SLACK_MS:
                return ""
        return "nobody had asked for that"
    if end.reason == "shutdown":
        return "" if circumstances.no_successor(end) else "another node was there to take over"
    return "that is none that there can be"


def _check_bounds(
    circumstances: Circumstances,
    user: str,
    of_user: list[Conversation],
    streams: list[Stream],
    calls: list[Span],
) -> Iterator[Violation]:
    """Whenever the user was away for long enough, what was open had ended."""
    history = circumstances.history
    rules = history.rules
    here = joined([*(Span(each.asked_ms, each.closed_ms) for each in streams), *calls])
    until = [*here, Span(history.stop_ms, history.stop_ms + 1)]
    spoken = {said.conversation for said in history.said if said.user == user}
    for before, back in pairwise(until):
        left_ms = before.end
        open_then = [each for each in of_user if each.first_ms <= left_ms]
        if not open_then:
            continue
        last = max(open_then, key=lambda each: each.first_ms)
        connected_ms = max((each.closed_ms for each in streams if each.closed_ms <= left_ms), default=0)
        called = any(connected_ms < call.end + SLACK_MS and call.begin <= left_ms for call in calls)
        bound_ms = rules.grace_ms
        if called:  # in the grace, or without a connection: the fallback decides
            bound_ms = max(bound_ms, rules.timeout_ms + rules.check_ms)
        due_ms = after(left_ms, bound_ms + LOADED_MS, circumstances.calm_pauses)
        ended_ms = last.end.at_ms if last.end is not None else ALWAYS
        if last.end is None and last.id not in spoken and circumstances.moved_between(left_ms, due_ms):
            continue  # it was empty, and is forgotten with its home
        if due_ms < back.begin and ended_ms > due_ms:
            end = "never" if ended_ms == ALWAYS else f"{(ended_ms - left_ms) / 1000:.1f} s later"
            allowed = f"{(due_ms - left_ms) / 1000:.1f} s"
            what = f"{last.id} ended {end}, not within {allowed} of when the user left"
            yield Violation(IN_TIME, user, left_ms, what)


def _check_one_at_a_time(history: History) -> Iterator[Violation]:
    """A conversation that another one has followed comes back no more."""
    newest: dict[str, list[str]] = defaultdict(list)
    for said in sorted(history.said, key=lambda each: each.begun_ms):
        if said.answered_ms is None:
            continue
        seen = newest[said.user]
        if said.conversation in seen[:-1]:
            what = f"{said.key} went into {said.conversation}, though {seen[-1]} had followed it"
            yield Violation(ONE_AT_A_TIME, said.user, said.answered_ms, what)
        elif not seen or seen[-1] != said.conversation:
            seen.append(said.conversation)


def _check_listing(history: History) -> Iterator[Violation]:
    of_user: dict[str, list[Archive]] = defaultdict(list)
    for archive in history.archives:
        of_user[archive.user].append(archive)
    for user, archives in of_user.items():
        archives.sort(key=lambda each: each.moved_ms)
        for before, behind in pairwise(archives):
            if _rank(behind.id) < _rank(before.id):
                what = f"{behind.id} was archived after {before.id}"
                yield Violation(LISTED, user, behind.moved_ms, what)


def _rank(archive_id: str) -> tuple[str, int]:
    second, _, number = archive_id[:19], archive_id[19:20], archive_id[20:]
    return second, int(number or 1)


def _check_leases(circumstances: Circumstances) -> Iterator[Violation]:
    history = circumstances.history
    for stream in history.streams:
        if stream.silent_ms is None or stream.opened_ms is None:
            continue
        due_ms = after(stream.silent_ms, history.rules.lease_ms + 1000 + LOADED_MS, circumstances.calm_pauses)
        if stream.closed_ms > due_ms:
            took_s = (stream.closed_ms - stream.silent_ms) / 1000
            what = f"{stream.connection} was ended {took_s:.1f} s after it fell silent"
            yield Violation(LEASE, stream.user, stream.silent_ms, what)
