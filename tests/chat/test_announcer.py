"""What a new home tells: where the user's log shows that the last one broke off."""

from __future__ import annotations

import pytest

from modules.chat_server.announcer import _first_untold
from modules.chat_server.journal.records import Message
from potoserver import Event

MESSAGES = [Message("user", "text", name, 0) for name in ("q1", "r1", "q2", "r2")]


def told(*names: str) -> list[Event]:
    """Events of a log: `q1` is a message, `r2+` a piece of one that grows, `other` another event."""
    return [
        Event("delta", {"requestId": "r"}, group=name[:-1])
        if name.endswith("+")
        else Event("archives", {})
        if name == "other"
        else Event("message", {"messageId": name})
        for name in names
    ]


@pytest.mark.parametrize(
    ("log", "first"),
    [
        (("q1", "r1", "q2", "r2"), 4),
        (("q1", "r1", "q2"), 3),
        (("r1", "other"), 2),
        (("q2", "r2+", "r2+"), 3),
        (("r2+",), 3),
        (("r3+",), 4),
        (("q0", "r0", "q1"), 1),
        (("q0", "r0", "other"), None),
        ((), None),
    ],
)
def test_what_stands_behind_the_last_that_the_log_has_was_not_told(
    log: tuple[str, ...], first: int | None
) -> None:
    """Though the log has lost its old end; a reply that grows shows that all before it was told."""
    assert _first_untold(MESSAGES, told(*log)) == first
