"""The checker of histories: a sound one passes, and each broken promise is told, by hand-made histories."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.checker import events, faults, messages, sessions
from tests.cluster.checker.broken import FAULTS, broken_copy
from tests.cluster.checker.checks import check
from tests.cluster.checker.history import (
    Archive,
    Asked,
    Got,
    History,
    Line,
    Rules,
    Said,
    Stream,
    Trouble,
    Try,
)
from tests.cluster.checker.spans import Span, after, joined, within, without
from tests.cluster.checker.violation import story

T = 1_700_000_000_000
FIRST, SECOND = "sse-1-aaaaaaaaa", "sse-2-bbbbbbbbb"


def said(number: int, at: int, conversation: str = FIRST) -> Said:
    text = f"u 1 {number}"
    tries = [Try(0, T + at, T + at + 50, 200)]
    return Said("u", f"k{number}", text, tries, T + at + 50, conversation, f"m{number}", text)


def archive(name: str, conversation: str, at: int, *numbers: int, reason: str = "disconnect") -> Archive:
    kept = [
        line
        for number in numbers
        for line in (
            ("user", f"u 1 {number}", f"q{number}"),
            ("assistant", f"u 1 {number}", f"m{number}"),
        )
    ]
    return Archive("u", name, conversation, reason, T + at, T + at + 5, kept, len(kept))


def got(number: int, at: int) -> list[Got]:
    return [
        Got(T + at, f"e-{at}", "message", f"q{number}"),
        Got(T + at + 1, f"e-{at + 1}", "message", f"m{number}"),
    ]


def sound() -> History:
    """A user with two tabs comes, talks, drops and returns within the grace, leaves; comes again."""
    first = Stream("u", 1, 0, T + 1000, None, T + 1010, "e-1", "c1", FIRST, closed_ms=T + 3000, why="left")
    first.got = [*got(1, 1200), *got(2, 2200)]
    other = Stream("u", 2, 1, T + 1005, None, T + 1020, "e-1", "c2", FIRST, closed_ms=T + 3100, why="left")
    other.got = [*got(1, 1200), *got(2, 2200)]
    back = Stream(
        "u", 1, 2, T + 3500, "e-2201", T + 3520, "e-2201", "c3", FIRST, resumed=True, closed_ms=T + 5000
    )
    back.got = [*got(3, 4000)]
    again = Stream(
        "u", 1, 0, T + 30_000, "e-4001", T + 30_020, "f-1", "c4", SECOND, gap=True, closed_ms=T + 33_000
    )
    again.got = [Got(T + 31_000, "f-5", "message", "q4"), Got(T + 31_001, "f-6", "message", "m4")]
    return History(
        seed=1,
        rules=Rules(grace_ms=1000, timeout_ms=3000, check_ms=500, lease_ms=10_000),
        begin_ms=T,
        quiet_ms=T + 40_000,
        stop_ms=T + 90_000,
        troubles=[Trouble("reset", 1, T + 2500, T + 2500)],
        streams=[first, other, back, again],
        said=[said(1, 1200), said(2, 2200), said(3, 4000), said(4, 31_000, SECOND)],
        lines=[
            Line(0, T + 1008, sessions.STARTED, "u", FIRST),
            Line(0, T + 6010, sessions.ENDED, "u", FIRST, "disconnect"),
            Line(1, T + 30_010, sessions.STARTED, "u", SECOND),
            Line(1, T + 34_010, sessions.ENDED, "u", SECOND, "disconnect"),
        ],
        archives=[
            archive("2024-01-15-10-30-00", FIRST, 6012, 1, 2, 3),
            archive("2024-01-15-10-30-00-2", SECOND, 34_012, 4),
        ],
    )


def lose_message(history: History) -> None:
    history.archives[0].messages = history.archives[0].messages[:4]
    history.archives[0].count = 4


def lose_archive(history: History) -> None:
    del history.archives[1]


def lose_reply(history: History) -> None:
    del history.archives[1].messages[1]
    history.archives[1].count = 1


def double_message(history: History) -> None:
    history.archives[1].messages += history.archives[0].messages[:2]
    history.archives[1].count = 4


def double_unanswered(history: History) -> None:
    history.said.append(Said("u", "k9", "u 1 9", [Try(0, T + 32_000, T + 32_500, 0)]))
    for each in history.archives:
        each.messages.append(("user", "u 1 9", "q9"))
        each.count += 1


def reply_twice(history: History) -> None:
    history.archives[1].messages.append(("assistant", "u 1 4", "m5"))
    history.archives[1].count += 1


def change_a_character(history: History) -> None:
    role, content, message_id = history.archives[0].messages[1]
    history.archives[0].messages[1] = (role, content + " ", message_id)


def swap_messages(history: History) -> None:
    first = history.archives[0].messages
    history.archives[0].messages = first[2:4] + first[:2] + first[4:]


def invent_message(history: History) -> None:
    history.archives[0].messages.append(("user", "who said this", "q0"))
    history.archives[0].count += 1


def answer_without_retry_after(history: History) -> None:
    history.said[0].tries.insert(0, Try(1, T + 1150, T + 1160, 503))


def answer_with_a_fault(history: History) -> None:
    history.said[0].tries.insert(0, Try(1, T + 1150, T + 1160, 500))


def archive_twice(history: History) -> None:
    history.archives.append(archive("2024-01-15-10-30-07", FIRST, 7000))


def end_while_there(history: History) -> None:
    history.lines[1].at_ms = T + 4500
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 4505


def end_early(history: History) -> None:
    history.lines[1].at_ms = T + 5300
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 5305


def end_by_shutdown(history: History) -> None:
    history.lines[1].reason = history.archives[0].reason = "shutdown"


def end_by_request(history: History) -> None:
    history.lines[1].reason = history.archives[0].reason = "request"


def end_by_recovery(history: History) -> None:
    history.lines[1].reason = history.archives[0].reason = "recovered"


def end_by_timeout(history: History) -> None:
    history.lines[1].reason = history.archives[0].reason = "timeout"


def end_by_superseding(history: History) -> None:
    history.lines[1].reason = history.archives[0].reason = "superseded"


def end_late(history: History) -> None:
    history.lines[1].at_ms = T + 20_000
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 20_005


def end_late_with_a_node_down(history: History) -> None:
    """The others have long taken over what it had."""
    history.lines[1].at_ms = T + 28_000
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 28_005
    history.troubles.append(kill(0, 5500, 29_000))


def never_end(history: History) -> None:
    del history.lines[1]
    del history.archives[0]
    history.said = history.said[3:]


def go_back(history: History) -> None:
    history.said += [said(5, 31_200), said(6, 31_400, SECOND)]
    history.archives[1].messages += archive("", "", 0, 5, 6).messages
    history.archives[1].count = 6


def list_backwards(history: History) -> None:
    history.archives[1].id = "2024-01-15-10-29-59"


def miss_event(history: History) -> None:
    del history.streams[1].got[1]


def miss_reply_everywhere(history: History) -> None:
    for stream in history.streams[:2]:
        stream.got = stream.got[2:]


def double_event(history: History) -> None:
    history.streams[2].got.insert(0, Got(T + 3600, "e-2201", "message", "m2"))


def double_under_a_new_id(history: History) -> None:
    history.streams[2].got.insert(0, Got(T + 3600, "e-3000", "message", "m2"))


def swap_events(history: History) -> None:
    history.streams[0].got.reverse()


def change_epoch(history: History) -> None:
    history.streams[3].got.append(Got(T + 32_000, "g-9", "message", "m9"))


def resume_elsewhere(history: History) -> None:
    history.streams[2].id = "e-2300"


def cut_late(history: History) -> None:
    history.streams[3].silent_ms = T + 31_500
    history.streams[3].closed_ms = T + 60_000
    history.lines[3].at_ms = T + 61_000
    history.archives[1].footed_ms = history.archives[1].moved_ms = T + 61_000


def leave_open(history: History) -> None:
    history.left.append("u has an open dialog")


def log_a_fault(history: History) -> None:
    history.troubles.append(kill(1, 7000, 9000))
    history.lines.append(Line(0, T + 9000, "hook failed", "u", about="ValueError: no", fault=True))


def be_away_in_calm(history: History) -> None:
    history.lines.append(Line(0, T + 60_000, "hook failed", "u", about="UnavailableError", fault=True))


BROKEN: list[tuple[str, Callable[[History], None]]] = [
    (messages.KEPT, lose_message),
    (messages.KEPT, lose_archive),
    (messages.KEPT, lose_reply),
    (messages.KEPT, change_a_character),
    (messages.ONCE, double_message),
    (messages.ONCE, double_unanswered),
    (messages.ONCE, reply_twice),
    (messages.ORDER, swap_messages),
    (messages.OWN, invent_message),
    (messages.ANSWERS, answer_without_retry_after),
    (messages.ANSWERS, answer_with_a_fault),
    (sessions.ARCHIVED_ONCE, archive_twice),
    (sessions.NOT_WHILE_THERE, end_while_there),
    (sessions.EXPLAINED, end_early),
    (sessions.EXPLAINED, end_by_shutdown),
    (sessions.EXPLAINED, end_by_request),
    (sessions.EXPLAINED, end_by_recovery),
    (sessions.EXPLAINED, end_by_timeout),
    (sessions.EXPLAINED, end_by_superseding),
    (sessions.IN_TIME, end_late),
    (sessions.IN_TIME, end_late_with_a_node_down),
    (sessions.IN_TIME, never_end),
    (sessions.ONE_AT_A_TIME, go_back),
    (sessions.LISTED, list_backwards),
    (sessions.LEASE, cut_late),
    (sessions.NOTHING_LEFT, leave_open),
    (events.LOST, miss_event),
    (events.LOST, miss_reply_everywhere),
    (events.DOUBLED, double_event),
    (events.DOUBLED, double_under_a_new_id),
    (events.DOUBLED, swap_events),
    (events.DOUBLED, change_epoch),
    (events.RESUMED, resume_elsewhere),
    (faults.NO_FAULT, log_a_fault),
    (faults.NO_FAULT, be_away_in_calm),
]


def test_a_sound_history_passes() -> None:
    assert check(sound()) == []


@pytest.mark.parametrize(("promise", "breaks"), BROKEN, ids=[each.__name__ for _, each in BROKEN])
def test_a_broken_promise_is_told(promise: str, breaks: Callable[[History], None]) -> None:
    """With the user whose it is, and the lines that show it."""
    history = sound()
    breaks(history)
    found = check(history)
    assert promise in {each.promise for each in found}, found
    assert all(each.user == "u" for each in found)
    assert story(history, "u", found[0].at_ms)


def test_every_promise_is_broken_here() -> None:
    promises = {
        value
        for module in (messages, sessions, events, faults)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and " " in value
    }
    logged = {sessions.STARTED, sessions.ENDED, sessions.ADOPTED, events.NOT_PUBLISHED}
    assert promises - logged == {promise for promise, _ in BROKEN}


def kill(node: int, begin: int, end: int) -> Trouble:
    return Trouble("kill", node, T + begin, T + end)


def recovered_after_a_death(history: History) -> None:
    end_by_recovery(history)
    history.troubles.append(kill(0, 1500, 2500))


def ended_while_severed(history: History) -> None:
    """The user stays on a node that stands still for longer than the lease."""
    history.streams[2].closed_ms = T + 29_000
    history.lines[1].at_ms = T + 12_000
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 12_005
    history.troubles.append(Trouble("pause", 2, T + 5000, T + 13_000))


def ended_late_in_trouble(history: History) -> None:
    history.lines[1].at_ms = T + 20_000
    history.archives[0].footed_ms = history.archives[0].moved_ms = T + 20_005
    history.troubles.append(kill(0, 5500, 9000))


def said_by_who_was_no_home(history: History) -> None:
    """A node that stood still says that an empty session ended; nothing comes of it."""
    del history.archives[0]
    history.said = history.said[3:]
    for stream in history.streams[:3]:
        stream.got = []
    history.streams[2].id = history.streams[2].after = "e-1"
    history.lines[1] = Line(1, T + 4900, sessions.ENDED, "u", FIRST, "disconnect")
    history.troubles.append(Trouble("pause", 1, T + 100, T + 4890))
    history.lines.append(Line(0, T + 6010, "other"))


def shut_down_alone(history: History) -> None:
    end_by_shutdown(history)
    history.troubles += [kill(1, 4000, 9000), kill(2, 4000, 9000), Trouble("term", 0, T + 5900, T + 9000)]


def asked_for(history: History) -> None:
    end_by_request(history)
    history.asked.append(Asked("u", 1, T + 5990, T + 6050, 200, FIRST))


def away_in_trouble(history: History) -> None:
    history.troubles.append(kill(1, 7000, 9000))
    history.lines.append(Line(0, T + 9000, "hook failed", "u", about="UnavailableError", fault=True))


def not_published(history: History) -> None:
    miss_reply_everywhere(history)
    history.lines.append(Line(0, T + 1210, events.NOT_PUBLISHED, "u"))


EXCUSED = [
    recovered_after_a_death,
    ended_while_severed,
    ended_late_in_trouble,
    said_by_who_was_no_home,
    shut_down_alone,
    asked_for,
    away_in_trouble,
    not_published,
]


@pytest.mark.parametrize("excuse", EXCUSED, ids=[each.__name__ for each in EXCUSED])
def test_what_the_troubles_explain_breaks_no_promise(excuse: Callable[[History], None]) -> None:
    history = sound()
    excuse(history)
    assert check(history) == []


@pytest.mark.parametrize("kind", ["pause", "cut"])
def test_a_trouble_shorter_than_the_lease_excuses_no_end(kind: str) -> None:
    history = sound()
    ended_while_severed(history)
    history.troubles[-1] = Trouble(kind, 2, T + 9000, T + 11_500)
    assert sessions.NOT_WHILE_THERE in {each.promise for each in check(history)}


def test_a_history_is_kept_and_read_as_it_is(tmp_path: Path) -> None:
    history = sound()
    history.asked.append(Asked("u", 1, T, T, 0))
    history.left.append("something")
    file = tmp_path / "history.jsonl"
    history.write(file)
    assert History.read(file) == history
    assert check(History.read(file)) == check(copy.deepcopy(history))


def test_spans() -> None:
    spans = [Span(5, 9), Span(0, 2), Span(8, 12), Span(3, 3)]
    assert joined(spans) == [(0, 2), (5, 12)]
    assert joined(spans, over=3) == [(0, 12)]
    assert without(spans, [Span(1, 6), Span(7, 8)]) == [(0, 1), (6, 7), (8, 12)]
    assert within(spans, Span(1, 10)) == [(1, 2), (5, 10)]
    assert after(0, 10, []) == 10
    assert after(0, 10, [Span(-5, -1), Span(4, 6), Span(12, 20), Span(30, 40)]) == 12
    assert after(5, 3, [Span(4, 10)]) == 13


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_faults_that_the_checker_must_find_can_still_be_made(tmp_path: Path, name: str) -> None:
    """The code that each replaces is there, once, and what it breaks is what the checker tells of."""
    fault = FAULTS[name]
    folder = broken_copy(name, tmp_path / "code")
    for change in fault.changes:
        assert change.instead in (folder / change.file).read_text()
    assert set(fault.breaks) <= {promise for promise, _ in BROKEN}
