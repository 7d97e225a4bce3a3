"""When the time of adoption begins, and what a start that fails leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.chat_server.journal import Reason
from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver import ServerModule
from potoserver.server import StartError

from ..support.clock import ManualClock, settle
from ..support.server import RunServer, log_lines
from .support import Chat, reasons
from .test_session_life import left_open, restarted


@pytest.mark.parametrize(("grace_ms", "lasts_s"), [(5000, 5), (0, 0)])
async def test_adoption_lasts_from_the_moment_the_server_is_ready(
    tmp_path: Path, grace_ms: int, lasts_s: float, running_server: RunServer
) -> None:
    """A module that starts slowly takes nothing of the time that users have to come back."""

    class Slow(ServerModule):
        async def on_start(self) -> None:
            await chat.start_user_session("a1")  # which has the dialog looked at first
            await clock.advance(9)
            assert list(chat.user_sessions) == ["a1"]

    clock: ManualClock = await left_open(tmp_path, "before")
    chat = ChatServerModule()
    async with running_server(
        tmp_path,
        [chat, Slow()],
        clock=clock,
        sections={"chat": ChatSettings()},
        presence={"grace_ms": grace_ms},
    ):
        if lasts_s:
            await clock.advance(lasts_s - 1)
            assert list(chat.user_sessions) == ["a1"]
            await clock.advance(2)
        else:
            await clock.advance(0)
        assert list(chat.user_sessions) == []


@pytest.mark.parametrize("grace_ms", [5000, 0])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, None])
async def test_a_start_that_fails_leaves_what_a_crash_left_open(
    tmp_path: Path, grace_ms: int, turns: int | None, running_server: RunServer
) -> None:
    """It stays open and says nothing of its own; the next start adopts it as usual."""
    chat = ChatServerModule()

    class Failing(ServerModule):
        async def on_start(self) -> None:
            if turns is None:
                await chat.start_user_session("a1")  # which has the dialog looked at first
            else:
                await settle(turns)  # the looking is at one step or another
            raise RuntimeError("no")

    clock = await left_open(tmp_path, "before")
    with pytest.raises(StartError, match=r"^Failing could not start: no$"):
        async with running_server(
            tmp_path,
            [chat, Failing()],
            clock=clock,
            sections={"chat": ChatSettings()},
            presence={"grace_ms": grace_ms},
        ):
            pass
    assert [line["event"] for line in log_lines(tmp_path) if line["level"] in ("warning", "error")] == []
    assert not {"session ended", "conversation archived"} & {line["event"] for line in log_lines(tmp_path)}
    async with restarted(tmp_path, clock) as again:
        await again.quiet()
        assert await again.archives() == []
        assert (await again.ask("after")).conversation_id == "left-open"


async def test_a_failed_start_of_the_memory_journal_ends_without_a_word(tmp_path: Path) -> None:
    """`on_stop` before the server was ready has nothing to report."""
    chat = Chat.in_memory(tmp_path)
    chat.module.context = chat.context
    await chat.module.on_start()
    await chat.context.stop(chat.module)
    assert chat.context.lines == []


async def test_a_crash_that_was_adopted_and_a_stop_archive_it(tmp_path: Path) -> None:
    """Once the server was ready, a stop ends every session, also one that was adopted."""
    clock = await left_open(tmp_path, "before")
    async with restarted(tmp_path, clock) as chat:
        await chat.quiet()
        chat.module.update_user_activity("a1")
    async with restarted(tmp_path, clock) as chat:
        assert reasons(await chat.archives()) == [Reason.SHUTDOWN]
