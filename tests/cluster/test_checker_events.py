"""What the checker tells of events: lost, doubled, out of order, or never told at all."""

from __future__ import annotations

import pytest

from tests.cluster.checker import events, untold
from tests.cluster.checker.history import Got, History, Line, Said, Stream, Try
from tests.cluster.histories import (
    SECOND,
    Break,
    T,
    assert_excused,
    assert_told,
    end_at,
    kill,
    names_of,
)


def miss_event(history: History) -> None:
    del history.streams[1].got[1]


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


def miss_reply_everywhere(history: History) -> None:
    for stream in history.streams[:2]:
        stream.got = stream.got[2:]


def never_tell_of_a_reply(history: History) -> None:
    """The newest one: nobody gets a later one either."""
    stay(history)
    del history.streams[3].got[1]


def never_tell_of_a_question(history: History) -> None:
    stay(history)
    del history.streams[3].got[0]


def never_tell_one_tab(history: History) -> None:
    stay(history)
    other = Stream("u", 2, 1, T + 30_500, None, T + 30_520, "f-1", "c5", SECOND, True, closed_ms=T + 44_000)
    other.got = history.streams[3].got[:1]
    history.streams.append(other)


def never_make_up(history: History) -> None:
    """The engine was away; it is back, but nobody is told of the reply, nor of a gap."""
    never_tell_of_a_reply(history)
    history.lines.append(Line(1, T + 31_040, untold.NOT_PUBLISHED, "u"))


def never_tell_of_what_was_not_answered(history: History) -> None:
    """The caller was cut off, but question and reply are kept."""
    stay(history)
    history.said.append(Said("u", "k5", "u 1 5", [Try(0, T + 32_000, T + 32_500, 0)]))
    history.archives[1].messages += [("user", "u 1 5", "q5"), ("assistant", "u 1 5", "m5")]
    history.archives[1].count += 2
    history.streams[3].got.append(Got(T + 32_100, "f-7", "message", "q5"))


def stay(history: History) -> None:
    """The user stays for long after the last reply."""
    history.streams[3].closed_ms = T + 45_000
    end_at(history, 1, 46_010)


BROKEN: list[tuple[str, Break]] = [
    (events.LOST, miss_event),
    (events.DOUBLED, double_event),
    (events.DOUBLED, double_under_a_new_id),
    (events.DOUBLED, swap_events),
    (events.DOUBLED, change_epoch),
    (events.RESUMED, resume_elsewhere),
    (untold.TOLD, miss_reply_everywhere),
    (untold.TOLD, never_tell_of_a_reply),
    (untold.TOLD, never_tell_of_a_question),
    (untold.TOLD, never_tell_one_tab),
    (untold.TOLD, never_make_up),
    (untold.TOLD, never_tell_of_what_was_not_answered),
]


@pytest.mark.parametrize(("promise", "breaks"), BROKEN, ids=names_of(breaks for _, breaks in BROKEN))
def test_a_broken_promise_is_told(promise: str, breaks: Break) -> None:
    assert_told(promise, breaks)


def stay_for_all(history: History) -> None:
    stay(history)


def not_published_at_once(history: History) -> None:
    """The engine was away: what is missing may still come, and the tab does not stay for it."""
    miss_reply_everywhere(history)
    history.lines.append(Line(0, T + 1210, untold.NOT_PUBLISHED, "u"))


def told_of_a_gap(history: History) -> None:
    never_make_up(history)
    history.streams[3].closed_ms = T + 32_000
    again = Stream("u", 1, 2, T + 32_300, "f-5", T + 32_320, "g-1", "c5", SECOND, True, gap=True)
    again.closed_ms = T + 45_000
    history.streams.append(again)


def told_once_a_trouble_is_over(history: History) -> None:
    """It is not due yet when the user goes."""
    never_tell_of_a_reply(history)
    history.troubles.append(kill(0, 31_020, 44_000))


EXCUSED: list[Break] = [
    stay_for_all,
    not_published_at_once,
    told_of_a_gap,
    told_once_a_trouble_is_over,
]


@pytest.mark.parametrize("excuse", EXCUSED, ids=names_of(EXCUSED))
def test_what_the_troubles_explain_breaks_no_promise(excuse: Break) -> None:
    assert_excused(excuse)
