"""Sessions through the module's hooks: presence, the grace, the fallback, adoption."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from modules.chat_server.journal import FileSystemDialogueJournal, Reason
from potoserver import Departure, ProblemError

from ..support.clock import ManualClock, settle
from .support import A1, Chat, LedResponder, conversation, question, reasons, texts


async def test_a_user_arrives_talks_and_leaves_and_the_dialog_is_archived(tmp_path: Path) -> None:
    """The life of a dialog: nothing ends within the grace, after it the archive is there, once."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, fields = await chat.context.connect("a1")
        reply = await chat.ask("Hello there")
        assert reply.reply == "Hello there"
        assert fields == {"conversation": reply.conversation_id, "archived": None}
        await chat.context.disconnect(connection)
        await chat.until(4.999)
        assert await chat.archives() == []
        await chat.until(0.001)
        (dialog,) = await chat.archives()
        assert texts(dialog) == ["Hello there", "Hello there"]
        assert dialog.reason is Reason.DISCONNECT
        assert dialog.conversation.id == reply.conversation_id
        assert dialog.ended_ms == chat.clock.now_ms()
        await chat.until(3600)
        assert len(await chat.archives()) == 1


async def test_the_log_shows_a_users_whole_life(tmp_path: Path) -> None:
    """Every line of the contract that is the chat's, in order, with its logger; no message text."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("a secret text")
        await chat.context.disconnect(connection)
        await chat.until(5)
    lines = [
        (line["logger"], line["log_level"], line["event"])
        for line in chat.context.lines
        if line["log_level"] != "debug"
    ]
    assert [line for line in lines if line[0].split(":")[0] in ("session", "journal")] == [
        ("session:lifecycle", "info", "session started"),
        ("session:activity", "info", "session activity updated"),
        ("journal:append", "info", "session message added to dialogue journal"),
        ("journal:append", "info", "session message added to dialogue journal"),
        ("session:lifecycle", "info", "session ended"),
        ("journal:archive", "info", "conversation archived"),
        ("session:archive", "info", "dialog archived"),
        ("session", "info", "shutting down, archiving all active sessions"),
    ]
    (ended,) = chat.context.logged("session ended")
    assert ended["reason"] == "disconnect"
    assert "secret" not in repr(chat.context.lines)


async def test_without_a_grace_the_session_ends_at_once(tmp_path: Path) -> None:
    """`presence.grace_ms` 0."""
    async with Chat.in_memory(tmp_path, grace_ms=0) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(0)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]


async def test_closing_one_of_two_tabs_ends_nothing(tmp_path: Path) -> None:
    """Closing the last ends the session once."""
    async with Chat.in_memory(tmp_path) as chat:
        first, _ = await chat.context.connect("a1")
        second, fields = await chat.context.connect("a1")
        reply = await chat.ask("x")
        assert fields["conversation"] == reply.conversation_id
        await chat.context.disconnect(first)
        await chat.until(60)
        assert await chat.archives() == []
        await chat.context.disconnect(second)
        await chat.until(60)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]


async def test_a_blip_keeps_the_conversation(tmp_path: Path) -> None:
    """A drop, a return and a second drop within the grace end once."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, before = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(4)
        connection, after = await chat.context.connect("a1")
        assert after == before
        await chat.context.disconnect(connection)
        await chat.until(4)
        assert await chat.archives() == []
        await chat.until(1)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]
        assert [line["conversation"] for line in chat.context.logged("session continued")] == [
            before["conversation"]
        ]


async def test_who_comes_back_later_begins_a_new_conversation_and_is_told_of_the_old_one(
    tmp_path: Path,
) -> None:
    """`archived` names the newest dialog that ended since the previous connection, and is told once."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, before = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(60)
        _, after = await chat.context.connect("a1")
        assert after["conversation"] != before["conversation"]
        page = await chat.module.list_archives(A1)
        assert after["archived"] == {
            "id": page.archives[0].id,
            "reason": "disconnect",
            "conversation": before["conversation"],
        }
        _, second_tab = await chat.context.connect("a1")
        assert second_tab["archived"] is None


async def test_a_session_without_a_message_leaves_nothing(tmp_path: Path) -> None:
    """No archive, and nobody is told of one."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.context.disconnect(connection)
        await chat.until(60)
        assert await chat.archives() == []
        assert (await chat.context.connect("a1"))[1]["archived"] is None
        assert chat.context.logged("dialog archived") == []


async def test_a_call_in_the_grace_belongs_to_the_conversation_and_the_fallback_then_governs(
    tmp_path: Path,
) -> None:
    """The grace does not end it; inactivity does."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        first = await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(3)
        second = await chat.ask("y")
        assert second.conversation_id == first.conversation_id
        await chat.until(290)
        assert await chat.archives() == []
        await chat.until(40)
        (dialog,) = await chat.archives()
        assert dialog.reason is Reason.TIMEOUT
        assert texts(dialog) == ["x", "x", "y", "y"]


async def test_a_call_without_any_connection_is_archived_by_the_fallback(tmp_path: Path) -> None:
    """It starts a session; after the time of inactivity the next look ends it."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.ask("x")
        await chat.until(299)
        assert await chat.archives() == []
        await chat.until(31)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


async def test_a_call_that_still_runs_is_activity(tmp_path: Path) -> None:
    """However long the model takes, the fallback leaves its session alone."""
    led = LedResponder()
    settings = {"session_timeout_ms": 1000, "session_check_interval_ms": 500}
    async with Chat.in_memory(tmp_path, responder=led, settings=settings) as chat:
        call = chat.begin("x")
        await chat.until(30)
        assert len(chat.module.user_sessions) == 1
        led.answer("y")
        await call.answer()
        await chat.until(0.5)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


@pytest.mark.parametrize("scope", ["absent", "idle"])
async def test_a_connected_idle_user_is_ended_only_under_scope_idle(tmp_path: Path, scope: str) -> None:
    """Open connections get `archived`; the next call begins a new session, which the departure ends."""
    async with Chat.in_memory(tmp_path, settings={"session_timeout_scope": scope}) as chat:
        connection, fields = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.until(3600)
        if scope == "absent":
            assert await chat.archives() == []
            return
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]
        page = await chat.module.list_archives(A1)
        expected = {"id": page.archives[0].id, "reason": "timeout", "conversation": fields["conversation"]}
        assert chat.context.events("a1", "archived") == [expected]
        again = await chat.ask("y")
        assert again.conversation_id != fields["conversation"]
        await chat.context.disconnect(connection)
        await chat.until(5)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT, Reason.DISCONNECT]


async def test_the_fallback_leaves_who_has_departed_to_the_departure(tmp_path: Path) -> None:
    """It is on its way, and knows why the dialog has ended. Unless it does not come."""
    async with Chat.in_memory(tmp_path, settings={"session_check_interval_ms": 86_400_000}) as chat:
        for number in (1, 2):
            connection, _ = await chat.context.connect("a1")
            await chat.ask("x")
            await chat.until(3600)
            on_its_way: list[Departure] = []
            chat.context.on_departure = on_its_way.append  # type: ignore[method-assign]
            await chat.context.disconnect(connection)
            await chat.until(5)
            (departure,) = on_its_way
            del chat.context.on_departure
            await chat.module._life.end_idle()
            assert len(await chat.archives()) == number - 1
            if number == 1:
                chat.context.on_departure(departure)
            else:
                await chat.module._life.end_idle()
            await chat.quiet()
        assert reasons(await chat.archives()) == [Reason.DISCONNECT, Reason.TIMEOUT]


async def test_a_session_begun_by_a_call_is_ended_by_the_departure_of_who_connected_since(
    tmp_path: Path,
) -> None:
    """The connection goes on with the call's conversation, and governs it from then on."""
    async with Chat.in_memory(tmp_path) as chat:
        reply = await chat.ask("x")
        connection, fields = await chat.context.connect("a1")
        assert fields["conversation"] == reply.conversation_id
        await chat.context.disconnect(connection)
        await chat.until(5)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]


async def test_the_reply_in_flight_is_finished_before_its_session_is_archived(tmp_path: Path) -> None:
    """And a departure that is still waiting for it never touches the session of who has returned."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        connection, before = await chat.context.connect("a1")
        slow = chat.begin("slow")
        await settle()
        led.say("half ")
        await chat.context.disconnect(connection)
        await chat.until(6)
        _, after = await chat.context.connect("a1")
        assert after["conversation"] != before["conversation"]
        second = chat.begin("second")
        await settle()
        info = await chat.module.get_user_session_info("a1")
        assert info is not None and info.is_active and info.conversation_id == after["conversation"]
        led.answer("done")
        led.answer("other")
        assert (await slow.answer()).reply == "half done"
        assert (await second.answer()).conversation_id == after["conversation"]
        await settle(50)
        (dialog,) = await chat.archives()
        assert texts(dialog) == ["slow", "half done"]
        assert dialog.conversation.id == before["conversation"]
        assert await chat.open_texts() == ["second", "other"]
        assert led.asked[1] == ["second"], "the new dialog knows nothing of the old one"


# Adoption


async def left_open(tmp_path: Path, *messages: str, clock: ManualClock | None = None) -> ManualClock:
    """Leaves a dialog open on disk, as a crash does."""
    clock = clock or ManualClock()
    before = Chat(tmp_path, clock=clock)
    journal = FileSystemDialogueJournal(
        before.context.data_dir,
        clock=clock,
        fsync=False,
        logger=before.context.logger,
        registry=before.context.registry,
    )
    await journal.start()
    for message in messages:
        await journal.add_message(A1, question(message, clock), conversation(clock))
    await journal.close()
    return clock


def restarted(tmp_path: Path, clock: ManualClock, **options: object) -> Chat:
    settings = {"journal": {"fsync": "never"}}
    return Chat(tmp_path, clock=clock, settings=settings, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["call", "connect"])
async def test_who_comes_back_after_a_crash_goes_on_with_the_conversation(tmp_path: Path, way: str) -> None:
    """By a connection or a call, within the adoption's time; it is not told of older archives."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as earlier:
        await earlier.ask("long ago")
    await left_open(tmp_path, "before", clock=clock)
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
        await chat.until(4.9)
        if way == "connect":
            _, fields = await chat.context.connect("a1")
            assert fields == {"conversation": "left-open", "archived": None}
        assert (await chat.ask("after")).conversation_id == "left-open"
        await chat.until(60)
        await chat.quiet()
        assert reasons(await chat.archives()) == [Reason.SHUTDOWN]
        assert await chat.open_texts() == ["before", "after", "after"]
        (line,) = chat.context.logged("session continued")
        assert line["conversation"] == "left-open"


async def test_a_call_during_adoption_leaves_the_session_to_the_fallback(tmp_path: Path) -> None:
    """No connection, no departure: inactivity ends it."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
        await chat.ask("after")
        await chat.until(331)
        await chat.quiet()
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


@pytest.mark.parametrize(("grace_ms", "lasts_s"), [(5000, 5), (3, 3)])
async def test_what_nobody_went_on_with_is_archived_as_recovered(
    tmp_path: Path, grace_ms: int, lasts_s: float
) -> None:
    """After the grace, or three times `retry` where that is more."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock, grace_ms=grace_ms) as chat:
        await chat.quiet()
        await chat.until(lasts_s - 0.001)
        assert await chat.archives() == []
        await chat.until(0.001)
        await chat.quiet()
        (dialog,) = await chat.archives()
        assert dialog.reason is Reason.RECOVERED
        assert texts(dialog) == ["before"]
        _, fields = await chat.context.connect("a1")
        assert fields["conversation"] != "left-open"
        assert fields["archived"]["conversation"] == "left-open"


async def test_without_a_grace_what_was_left_open_is_archived_at_once(tmp_path: Path) -> None:
    """Nobody is waited for."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock, grace_ms=0) as chat:
        await chat.quiet()
        assert reasons(await chat.archives()) == [Reason.RECOVERED]


async def test_a_stop_during_adoption_archives_as_recovered(tmp_path: Path) -> None:
    """Nobody had gone on with it; nothing is left for a further start."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
    async with restarted(tmp_path, clock) as chat:
        assert reasons(await chat.archives()) == [Reason.RECOVERED]


async def test_who_calls_before_what_was_left_open_is_archived_goes_on_with_it(tmp_path: Path) -> None:
    """Also without a grace; only the others are archived at once."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock, grace_ms=0) as chat:
        assert (await chat.ask("after")).conversation_id == "left-open"
        await chat.quiet()
        archived = [text for dialog in await chat.archives() for text in texts(dialog)]
        assert archived + await chat.open_texts() == ["before", "after", "after"]


async def test_after_a_restart_the_newest_archive_is_told_once(tmp_path: Path) -> None:
    """What was remembered is gone; the journal knows."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        await chat.ask("x")
    async with restarted(tmp_path, clock) as chat:
        connection, fields = await chat.context.connect("a1")
        assert fields["archived"]["reason"] == "shutdown"
        await chat.context.disconnect(connection)
        await chat.until(5)
        await chat.quiet()
        assert (await chat.context.connect("a1"))[1]["archived"] is None


async def in_these_lives(tmp_path: Path, clock: ManualClock, lives: int) -> list[object]:
    """What a user is told who connects once in each of so many lives of the server, and says nothing."""
    told = []
    for _ in range(lives):
        async with restarted(tmp_path, clock) as chat:
            connection, fields = await chat.context.connect("a1")
            told.append(fields["archived"] and fields["archived"]["reason"])
            await chat.context.disconnect(connection)
            await chat.until(5)
            await chat.quiet()
    return told


@pytest.mark.parametrize("end", ["disconnect", "shutdown"])
async def test_an_archive_is_told_once_whatever_is_restarted(tmp_path: Path, end: str) -> None:
    """Also to a user who comes back a day and two restarts later."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        if end == "disconnect":
            await chat.context.disconnect(connection)
            await chat.until(5)
            await chat.quiet()
    async with restarted(tmp_path, clock):
        pass
    await clock.advance(24 * 3600)
    assert await in_these_lives(tmp_path, clock, 3) == [end, None, None]


async def test_what_was_told_before_a_restart_is_not_told_after_it(tmp_path: Path) -> None:
    """The notice came from what the server remembered."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        await chat.ask("x")
        await chat.module.end_session(A1)
        assert (await chat.context.connect("a1"))[1]["archived"]["reason"] == "request"
        await chat.quiet()
    assert await in_these_lives(tmp_path, clock, 1) == [None]


async def test_two_tabs_at_once_are_told_once(tmp_path: Path) -> None:
    """Right after a restart, when the journal has to be asked."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        await chat.ask("x")
    async with restarted(tmp_path, clock) as chat:
        tabs = await asyncio.gather(*(chat.context.connect("a1") for _ in range(3)))
        assert [fields["archived"] is None for _, fields in tabs].count(False) == 1


# Activity


async def user_call(chat: Chat, method: str) -> None:
    arguments = ("none",) if method == "get_archive" else ()
    with suppress(ProblemError):
        await getattr(chat.module, method)(A1, *arguments)


USER_METHODS = ["get_archive", "get_conversation", "list_archives", "stop_generation"]


@pytest.mark.parametrize("method", USER_METHODS)
async def test_any_chat_call_of_the_user_is_activity(tmp_path: Path, method: str) -> None:
    """It keeps the fallback away, and is logged; it begins no session."""
    async with Chat.in_memory(tmp_path) as chat:
        await user_call(chat, method)
        assert not chat.module.user_sessions
        await chat.ask("x")
        await chat.until(200)
        await user_call(chat, method)
        assert [line["log_level"] for line in chat.context.logged("session activity updated")] == ["info"] * 2
        await chat.until(200)
        assert list(chat.module.user_sessions) == ["a1"]
        await chat.until(131)
        assert not chat.module.user_sessions


@pytest.mark.parametrize("method", USER_METHODS)
async def test_looking_in_the_grace_keeps_no_session(tmp_path: Path, method: str) -> None:
    """Only a message does; who looks for the archive would never see it."""
    async with Chat.in_memory(tmp_path) as chat:
        connection, _ = await chat.context.connect("a1")
        await chat.ask("x")
        await chat.context.disconnect(connection)
        await chat.until(3)
        await user_call(chat, method)
        await chat.until(2)
        assert reasons(await chat.archives()) == [Reason.DISCONNECT]


@pytest.mark.parametrize("method", USER_METHODS)
async def test_looking_after_a_crash_keeps_no_session(tmp_path: Path, method: str) -> None:
    """Nor does it go on with what was left open."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
        await user_call(chat, method)
        await chat.until(5)
        await chat.quiet()
        assert reasons(await chat.archives()) == [Reason.RECOVERED]


async def test_asking_about_sessions_is_nobodys_activity(tmp_path: Path) -> None:
    """Neither an admin nor the user delays the end of what is asked about."""
    async with Chat.in_memory(tmp_path) as chat:
        await chat.ask("x")
        await chat.until(200)
        await chat.module.get_user_session_info("a1")
        await chat.module.get_session_info(A1)
        await chat.module.list_sessions()
        await chat.module.get_active_session_count()
        await chat.until(131)
        assert reasons(await chat.archives()) == [Reason.TIMEOUT]


async def test_debug_tells_how_a_call_went_and_never_what_was_said(tmp_path: Path) -> None:
    """Queue, reply, batches, archive steps, the fallback's looks, and what was found at a start."""
    clock = ManualClock()
    async with restarted(tmp_path, clock) as chat:
        await chat.ask("a secret text")
        await chat.until(31)
        await chat.module.end_session(A1)
    debug = [line for line in chat.context.lines if line["log_level"] == "debug"]
    told = {line["event"]: line for line in debug}
    assert told["lane joined"]["queue"] == told["turn begins"]["queue"] == 1
    assert told["reply begins"]["history"] == 1
    assert (told["reply ends"]["chars"], told["reply ends"]["outcome"]) == (len("a secret text"), "whole")
    assert (told["sessions checked"]["sessions"], told["sessions checked"]["ended"]) == (1, 0)
    batches = [line for line in debug if line["event"] == "batch flushed"]
    assert [line.get("appends", 0) for line in batches] == [1, 1, 0]
    assert batches[-1]["archives"] == 1
    assert {"append begun", "append flushed", "footer flushed", "dialog renamed"} <= set(told)
    assert "secret" not in str(chat.context.lines)
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
    told = {line["event"]: line for line in chat.context.lines if line["log_level"] == "debug"}
    assert told["adoption begins"]["left_open"] == 1
    assert told["open dialog scanned"]["messages"] == 1
