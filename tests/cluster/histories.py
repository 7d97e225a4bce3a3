"""Histories made by hand: a sound one, and what tells whether the checker sees what is broken in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.cluster.checker import sessions
from tests.cluster.checker.checks import check
from tests.cluster.checker.history import Archive, Got, History, Line, Rules, Said, Stream, Trouble, Try
from tests.cluster.checker.violation import story

Break = Callable[[History], None]
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


def kill(node: int, begin: int, end: int) -> Trouble:
    return Trouble("kill", node, T + begin, T + end)


def end_at(history: History, number: int, at: int) -> None:
    """The first conversation, or the second, ends then."""
    history.lines[1 + 2 * number].at_ms = T + at
    archived = history.archives[number]
    archived.footed_ms = archived.moved_ms = T + at + 5


def end_for(history: History, reason: str) -> None:
    """The first conversation ends for that reason."""
    history.lines[1].reason = history.archives[0].reason = reason


def names_of(breaks: Iterable[Break]) -> list[str]:
    """What tests are called that try each."""
    return [each.__name__ for each in breaks]


def assert_told(promise: str, breaks: Break) -> None:
    """The checker tells of it, with the user whose it is, and the lines that show it."""
    history = sound()
    breaks(history)
    found = check(history)
    assert promise in {each.promise for each in found}, found
    assert all(each.user == "u" for each in found)
    assert story(history, "u", found[0].at_ms)


def assert_excused(excuse: Break) -> None:
    """The checker tells of nothing."""
    history = sound()
    excuse(history)
    assert check(history) == []
