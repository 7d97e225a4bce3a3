"""What the checker tells of the ends of sessions, and what it lets troubles explain."""

from __future__ import annotations

import pytest

from tests.cluster.checker import sessions
from tests.cluster.checker.checks import check
from tests.cluster.checker.history import Asked, History, Line, Trouble
from tests.cluster.histories import (
    FIRST,
    SECOND,
    Break,
    T,
    archive,
    assert_excused,
    assert_told,
    end_at,
    end_for,
    kill,
    names_of,
    said,
    sound,
)


def archive_twice(history: History) -> None:
    history.archives.append(archive("2024-01-15-10-30-07", FIRST, 7000))


def end_while_there(history: History) -> None:
    end_at(history, 0, 4500)


def end_early(history: History) -> None:
    end_at(history, 0, 5300)


def end_by_shutdown(history: History) -> None:
    end_for(history, "shutdown")


def end_by_request(history: History) -> None:
    end_for(history, "request")


def end_by_recovery(history: History) -> None:
    end_for(history, "recovered")


def end_by_timeout(history: History) -> None:
    end_for(history, "timeout")


def end_by_timeout_without_a_call(history: History) -> None:
    """Nobody called once the connection was gone, so the grace was to end it."""
    end_for(history, "timeout")
    end_at(history, 0, 9000)


def end_by_superseding(history: History) -> None:
    end_for(history, "superseded")


def end_late(history: History) -> None:
    end_at(history, 0, 20_000)


def end_late_with_a_node_down(history: History) -> None:
    """The others have long taken over what it had."""
    end_at(history, 0, 28_000)
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


def cut_late(history: History) -> None:
    history.streams[3].silent_ms = T + 31_500
    history.streams[3].closed_ms = T + 60_000
    end_at(history, 1, 61_000)


def leave_open(history: History) -> None:
    history.left.append("u has an open dialog")


BROKEN: list[tuple[str, Break]] = [
    (sessions.ARCHIVED_ONCE, archive_twice),
    (sessions.NOT_WHILE_THERE, end_while_there),
    (sessions.EXPLAINED, end_early),
    (sessions.EXPLAINED, end_by_shutdown),
    (sessions.EXPLAINED, end_by_request),
    (sessions.EXPLAINED, end_by_recovery),
    (sessions.EXPLAINED, end_by_timeout),
    (sessions.EXPLAINED, end_by_timeout_without_a_call),
    (sessions.EXPLAINED, end_by_superseding),
    (sessions.IN_TIME, end_late),
    (sessions.IN_TIME, end_late_with_a_node_down),
    (sessions.IN_TIME, never_end),
    (sessions.ONE_AT_A_TIME, go_back),
    (sessions.LISTED, list_backwards),
    (sessions.LEASE, cut_late),
    (sessions.NOTHING_LEFT, leave_open),
]


@pytest.mark.parametrize(("promise", "breaks"), BROKEN, ids=names_of(breaks for _, breaks in BROKEN))
def test_a_broken_promise_is_told(promise: str, breaks: Break) -> None:
    assert_told(promise, breaks)


def recovered_after_a_death(history: History) -> None:
    end_for(history, "recovered")
    history.troubles.append(kill(0, 1500, 2500))


def ended_while_severed(history: History) -> None:
    """The user stays on a node that stands still for longer than the lease."""
    history.streams[2].closed_ms = T + 29_000
    end_at(history, 0, 12_000)
    history.troubles.append(Trouble("pause", 2, T + 5000, T + 13_000))


def ended_late_in_trouble(history: History) -> None:
    end_at(history, 0, 20_000)
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
    end_for(history, "shutdown")
    history.troubles += [kill(1, 4000, 9000), kill(2, 4000, 9000), Trouble("term", 0, T + 5900, T + 9000)]


def asked_for(history: History) -> None:
    end_for(history, "request")
    history.asked.append(Asked("u", 1, T + 5990, T + 6050, 200, FIRST))


def timed_out_after_a_call_in_the_grace(history: History) -> None:
    history.said.append(said(5, 5200))
    history.archives[0].messages += archive("", "", 0, 5).messages
    history.archives[0].count += 2
    end_for(history, "timeout")
    end_at(history, 0, 8600)


def timed_out_before_the_late_departure(history: History) -> None:
    end_by_timeout_without_a_call(history)
    history.troubles.append(kill(1, 5500, 5600))


def forgotten_empty(history: History) -> None:
    """Nothing was said in it, and its home died when the user had left."""
    del history.archives[0]
    del history.lines[1]
    history.said = history.said[3:]
    for stream in history.streams[:3]:
        stream.got = []
    history.streams[2].id = history.streams[2].after = "e-1"
    history.troubles.append(kill(0, 5500, 5600))


EXCUSED: list[Break] = [
    timed_out_before_the_late_departure,
    forgotten_empty,
    recovered_after_a_death,
    ended_while_severed,
    ended_late_in_trouble,
    said_by_who_was_no_home,
    shut_down_alone,
    asked_for,
    timed_out_after_a_call_in_the_grace,
]


@pytest.mark.parametrize("excuse", EXCUSED, ids=names_of(EXCUSED))
def test_what_the_troubles_explain_breaks_no_promise(excuse: Break) -> None:
    assert_excused(excuse)


@pytest.mark.parametrize("kind", ["pause", "cut"])
def test_a_trouble_shorter_than_the_lease_excuses_no_end(kind: str) -> None:
    history = sound()
    ended_while_severed(history)
    history.troubles[-1] = Trouble(kind, 2, T + 9000, T + 11_500)
    assert sessions.NOT_WHILE_THERE in {each.promise for each in check(history)}
