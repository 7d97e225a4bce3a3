"""What the checker tells of messages on disk, of answers, and of faults that nodes log."""

from __future__ import annotations

import pytest

from tests.cluster.checker import faults, messages
from tests.cluster.checker.history import History, Line, Said, Try
from tests.cluster.histories import Break, T, assert_excused, assert_told, kill, names_of


def lose_message(history: History) -> None:
    history.archives[0].messages = history.archives[0].messages[:4]
    history.archives[0].count = 4


def lose_archive(history: History) -> None:
    del history.archives[1]


def lose_reply(history: History) -> None:
    del history.archives[1].messages[1]
    history.archives[1].count = 1


def change_a_character(history: History) -> None:
    role, content, message_id = history.archives[0].messages[1]
    history.archives[0].messages[1] = (role, content + " ", message_id)


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


def log_a_fault(history: History) -> None:
    history.troubles.append(kill(1, 7000, 9000))
    history.lines.append(Line(0, T + 9000, "hook failed", "u", about="ValueError: no", fault=True))


def be_away_in_calm(history: History) -> None:
    history.lines.append(Line(0, T + 60_000, "hook failed", "u", about="UnavailableError", fault=True))


BROKEN: list[tuple[str, Break]] = [
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
    (faults.NO_FAULT, log_a_fault),
    (faults.NO_FAULT, be_away_in_calm),
]


@pytest.mark.parametrize(("promise", "breaks"), BROKEN, ids=names_of(breaks for _, breaks in BROKEN))
def test_a_broken_promise_is_told(promise: str, breaks: Break) -> None:
    assert_told(promise, breaks)


def away_in_trouble(history: History) -> None:
    history.troubles.append(kill(1, 7000, 9000))
    history.lines.append(Line(0, T + 9000, "hook failed", "u", about="UnavailableError", fault=True))


def busy_in_calm(history: History) -> None:
    about = "{'level': 'error', 'hook': 'connected_fields', 'error': 'not done within 1 s'}"
    history.lines.append(Line(0, T + 60_000, "hook failed", "u", about=about, fault=True))


EXCUSED: list[Break] = [away_in_trouble, busy_in_calm]


@pytest.mark.parametrize("excuse", EXCUSED, ids=names_of(EXCUSED))
def test_what_the_troubles_explain_breaks_no_promise(excuse: Break) -> None:
    assert_excused(excuse)
