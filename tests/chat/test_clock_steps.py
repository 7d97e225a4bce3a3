"""Wall time stepped both ways, stopped and restarted: sessions, names and order stay right."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.chat_server.journal import Dialog, Reason
from potoserver import Cause, Departure

from ..support.clock import ManualClock, settle
from .support import A1, Chat, reasons, texts

HOUR_MS = 3_600_000
DAY_S = 24 * 3600
BOTH_WAYS = pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])


def assert_in_order(dialogs: list[Dialog]) -> None:
    """Oldest first as archives are listed: ends don't go back, and within each dialog no time does."""
    ends = [dialog.ended_ms for dialog in dialogs]
    assert ends == sorted(ends, key=lambda end: end or 0)
    for dialog in dialogs:
        assert dialog.ended_ms is not None
        stamps = [dialog.conversation.started_ms, *(each.timestamp_ms for each in dialog.messages)]
        assert [*stamps, dialog.ended_ms] == sorted([*stamps, dialog.ended_ms])


@BOTH_WAYS
async def test_the_grace_keeps_its_length(tmp_path: Path, by_ms: int) -> None:
    """A step of an hour within it neither ends the session nor keeps it."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, before = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(2)
        chat.clock.step_wall(by_ms)
        await chat.until(2)
        connection, after = await chat.context.connect("a1")
        assert after == before
        await chat.context.disconnect(connection)
        chat.clock.step_wall(-by_ms)
        await chat.until(4.99)
        assert await chat.archives() == []
        await chat.until(0.02)
        dialogs = await chat.archives()
        assert reasons(dialogs) == [Reason.DISCONNECT]
        assert_in_order(dialogs)


@BOTH_WAYS
async def test_a_step_between_the_last_call_and_the_drop_keeps_no_session(tmp_path: Path, by_ms: int) -> None:
    """The call came before the user was last seen, whatever the clocks say."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        chat.clock.step_wall(by_ms)
        await chat.until(1)
        await chat.context.disconnect(connection)
        await chat.until(5)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]


@BOTH_WAYS
async def test_a_call_in_the_grace_keeps_the_session_over_a_step(tmp_path: Path, by_ms: int) -> None:
    """It came after the drop, whatever the clocks say."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        first = await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(1)
        chat.clock.step_wall(by_ms)
        await chat.until(1)
        assert (await chat.ask("y")).conversation_id == first.conversation_id
        await chat.until(60)
        assert await chat.archives() == []


@BOTH_WAYS
async def test_the_fallback_keeps_its_time(tmp_path: Path, by_ms: int) -> None:
    """Inactivity is measured, not read off the wall."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.ask("x")
        chat.clock.step_wall(by_ms)
        await chat.until(299)
        assert await chat.archives() == []
        await chat.until(31)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


@BOTH_WAYS
async def test_a_late_departure_hits_no_newer_session_over_a_step(tmp_path: Path, by_ms: int) -> None:
    """It names a generation; when it was is no matter."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(5)
        late_ms = chat.clock.now_ms()
        chat.clock.step_wall(by_ms)
        _, fields = await chat.context.connect("a1")
        await chat.ask("y")
        for last_seen_ms in (late_ms, late_ms + 10 * HOUR_MS):
            departure = Departure("d-1", "a1", connection.generation, Cause.CLOSED, last_seen_ms, late_ms)
            await chat.module.on_sse_disconnect("a1", departure)
        assert chat.module.user_sessions["a1"].conversation.id == fields["conversation"]
        assert await chat.open_texts() == ["y", "y"]


@pytest.mark.parametrize("steps_ms", [(HOUR_MS, -HOUR_MS), (-HOUR_MS, HOUR_MS), (-HOUR_MS, -HOUR_MS), (0, 0)])
async def test_archives_are_listed_in_the_order_in_which_they_ended(
    tmp_path: Path, steps_ms: tuple[int, int]
) -> None:
    """Steps before, within and after dialogs; the newest first is the last that ended, page by page."""
    async with Chat(tmp_path, settings={"journal": {"fsync": "never"}}) as chat:
        said = []
        for number, step_ms in enumerate((0, *steps_ms, *steps_ms)):
            chat.clock.step_wall(step_ms)
            for part in range(3):
                said.append(f"{number}.{part}")
                await chat.ask(said[-1])
                chat.clock.step_wall(step_ms * (part == 0))
                await chat.clock.advance(0.3)
                chat.clock.step_wall(-step_ms * (part == 0))
                await chat.module.end_session(A1)
        dialogs = await chat.archives()
        assert [texts(dialog)[0] for dialog in dialogs] == said
        assert_in_order(dialogs)
        listed: list[str] = []
        cursor: str | None = None
        while True:
            page = await chat.module.list_archives(A1, 4, cursor)
            await chat.clock.advance(6)  # whatever the reading took is rested from
            listed += [each.conversation_id for each in page.archives]
            cursor = page.cursor
            if cursor is None:
                break
        assert listed == [dialog.conversation.id for dialog in reversed(dialogs)]


async def test_a_wall_time_that_stands_still_ends_nothing_early_and_names_nothing_twice(
    tmp_path: Path,
) -> None:
    """Stopped for ten minutes and restarted: each dialog has its own archive, in order."""
    async with Chat(tmp_path, settings={"journal": {"fsync": "never"}}) as chat:
        for number in range(20):
            await chat.ask(f"n{number}")
            await chat.clock.advance(30)
            chat.clock.step_wall(-30_000)
            await chat.module.end_session(A1)
        chat.clock.step_wall(600_000)
        await chat.ask("after")
        await chat.module.end_session(A1)
        dialogs = await chat.archives()
        assert [texts(dialog)[0] for dialog in dialogs] == [*(f"n{number}" for number in range(20)), "after"]
        assert_in_order(dialogs)
        assert dialogs[-1].ended_ms == chat.clock.wall_ms()


@BOTH_WAYS
async def test_an_idempotency_key_stands_over_a_step(tmp_path: Path, by_ms: int) -> None:
    """For its 24 hours by the stamps: a step forward takes off from them, none back adds a second answer."""
    async with Chat(tmp_path, settings={"journal": {"fsync": "never"}}) as chat:
        first = await chat.ask("x", key="k")
        await chat.module.end_session(A1)
        chat.clock.step_wall(by_ms)
        await chat.clock.advance(DAY_S - 3700)
        assert await chat.ask("x", key="k") == first
        await chat.clock.advance(3 * 3700)
        assert (await chat.ask("x", key="k")).message_id != first.message_id


@pytest.mark.parametrize("behind_ms", [HOUR_MS, 23 * HOUR_MS, 3650 * 24 * HOUR_MS])
async def test_a_start_with_an_older_wall_time_loses_and_doubles_nothing(
    tmp_path: Path, behind_ms: int
) -> None:
    """As on a machine without a battery-backed clock: what was open is adopted, what is new is archived."""
    settings = {"journal": {"fsync": "never"}}
    clock = ManualClock()
    async with Chat(tmp_path, clock=clock, settings=settings) as chat:
        await chat.ask("first", key="k")
        await chat.module.end_session(A1)
        await chat.ask("left open")
        await chat.context.crash()
        await chat.module.dialogue_journal.close()
    clock = ManualClock(clock.wall_ms() - behind_ms)
    async with Chat(tmp_path, clock=clock, settings=settings) as chat:
        await chat.quiet()
        connection, _ = await chat.context.connect("a1")
        await chat.ask("goes on")
        await chat.ask("first", key="k")
        await chat.context.disconnect(connection)
        await chat.until(5)
        await chat.quiet()
        await chat.ask("new")
        await chat.module.end_session(A1)
        dialogs = await chat.archives()
        spoken = {texts(dialog)[0]: texts(dialog)[::2] for dialog in dialogs}
        assert spoken == {"first": ["first"], "left open": ["left open", "goes on"], "new": ["new"]}
        if behind_ms <= 24 * HOUR_MS:
            assert [texts(dialog)[0] for dialog in dialogs] == ["first", "left open", "new"]
        assert_in_order(dialogs)
        await settle()
