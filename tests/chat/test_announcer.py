"""What a new home tells: where the user's log shows that the last one broke off."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.chat_server.announcer import Announcer, _first_untold
from modules.chat_server.journal.records import Message
from potoserver import Event
from tests.support.clock import settle
from tests.support.fake_context import FakeContext

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


@pytest.fixture
def context(tmp_path: Path) -> FakeContext:
    """One on which everything can be published."""
    return FakeContext(tmp_path)


async def say(announcer: Announcer, message_id: str) -> None:
    await announcer.message("a1", "c1", Message("user", "text", message_id, 0), "r")


async def lose_one(context: FakeContext) -> tuple[Announcer, str]:
    """A message is published, and then one that can't be; where the log stood in between."""
    announcer = Announcer(context)
    await say(announcer, "m1")
    first = str((await context.engine.replay("a1", None)).resume_id)
    context.away = True
    await say(announcer, "m2")
    await settle()
    context.away = False
    return announcer, first


async def test_nothing_passes_a_message_that_could_not_be_published(context: FakeContext) -> None:
    """Whoever has got what was before is told of a gap, and not of what comes behind it."""
    announcer, first = await lose_one(context)
    assert not (await context.engine.replay("a1", first)).gap
    await announcer.archives("a1", "imported")
    assert (await context.engine.replay("a1", first)).gap
    assert [event.type for event in await context.engine.logged("a1")] == ["archives"]


async def test_once_the_engine_is_back_a_gap_is_told_without_another_event(context: FakeContext) -> None:
    """Soon."""
    announcer, first = await lose_one(context)
    await context.manual_clock.advance(1.0)
    await settle()
    assert (await context.engine.replay("a1", first)).gap
    await say(announcer, "m3")
    assert [event.data["messageId"] for event in await context.engine.logged("a1")] == ["m3"]


@pytest.mark.parametrize(
    ("log", "published"),
    [
        (("q1", "r1", "q2", "r2", "r2+"), []),
        (("q1", "r1", "r1+", "q2"), ["message r2"]),
        (("q1", "r1", "q2", "r2+"), ["message r2"]),
        (("q1", "r1", "q2", "r3+"), ["failed r3"]),
    ],
)
async def test_a_piece_that_comes_when_its_reply_is_there_is_no_reply_that_grows(
    context: FakeContext, log: tuple[str, ...], published: list[str]
) -> None:
    """A node that was cut off had sent it: its successor tells nothing twice, and of no failure."""
    await Announcer(context).go_on("a1", "c", MESSAGES, told(*log), 0)
    events = await context.engine.logged("a1")
    assert [f"{event.type} {event.data['messageId']}" for event in events] == published
