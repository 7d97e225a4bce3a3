"""When the time of adoption begins."""

from __future__ import annotations

from pathlib import Path

from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver import ServerModule, User

from ..support.clock import ManualClock
from ..support.server import running_server
from .test_session_life import left_open


async def test_adoption_lasts_from_the_moment_the_server_is_ready(tmp_path: Path) -> None:
    """A module that starts slowly takes nothing of the time that users have to come back."""

    class Slow(ServerModule):
        async def on_start(self) -> None:
            await clock.advance(60)

    clock: ManualClock = await left_open(tmp_path, "before")
    chat = ChatServerModule()
    async with running_server(tmp_path, [chat, Slow()], clock=clock, sections={"chat": ChatSettings()}):
        await chat.get_conversation(User("a1"))  # which has the dialog looked at first
        await clock.advance(4)
        assert list(chat.user_sessions) == ["a1"]
        await clock.advance(2)
        assert list(chat.user_sessions) == []
