"""Titles that the responder gives to archives: nobody waits for them, and the user's own stay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import Message
from modules.chat_server.responders import ResponderError
from modules.chat_server.titler import (
    MOST_WAITING,
    MOST_WAITING_PER_USER,
    TITLE_LIMIT_S,
    title_said,
)
from potoserver import User

from .support import A1, Chat, LedResponder

WANTED = {"archives": {"title_by_responder": True}}


class Titling(LedResponder):
    """Says a title when the test says so.

    Attributes:
        wanted: The first words of the dialogs that a title was asked for.
        gave_up: How many of them were given up.
    """

    gives_titles = True

    def __init__(self) -> None:
        super().__init__()
        self.titles: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.wanted: list[str] = []
        self.gave_up = 0

    @override
    async def title(self, messages: Sequence[Message]) -> str:
        self.wanted.append(messages[0].content)
        try:
            said = await self.titles.get()
        except asyncio.CancelledError:
            self.gave_up += 1
            raise
        if isinstance(said, Exception):
            raise said
        return said


class TitledChat:
    """A chat whose archives get titles."""

    def __init__(self, folder: Path, settings: dict[str, Any] = WANTED) -> None:
        self.responder = Titling()
        self.chat = Chat.in_memory(folder, responder=self.responder, settings=settings)

    async def archive(self, text: str, user: User = A1) -> str:
        """An archived dialog that begins with this text."""
        self.responder.answer("yes")
        await self.chat.ask(text, user=user)
        archive_id = (await self.chat.module.end_user_session(user.id)).archive_id
        assert archive_id is not None
        return archive_id

    async def asked(self, count: int) -> None:
        """Waits until so many titles were asked for."""
        async with asyncio.timeout(10):
            while len(self.responder.wanted) < count:
                await asyncio.sleep(0)

    async def titles(self, user: User = A1) -> list[str]:
        """What the user's archives are called, oldest first."""
        return [each.title for each in reversed((await self.chat.module.list_archives(user, 100)).archives)]

    def changes(self) -> list[Any]:
        """The data of the events about archives."""
        return [event.data for _, event in self.chat.context.published if event.type == "archives"]

    def untitled(self) -> list[str]:
        """Why archives stay without a title, as the log says it."""
        lines = self.chat.context.logged("archive not titled")
        assert all(line["log_level"] == "info" for line in lines)
        return [line["why"] for line in lines]


async def test_an_archive_gets_the_responders_title_and_pages_are_told(tmp_path: Path) -> None:
    """Until then it is called by its first words; the archive waits for nothing."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        archive_id = await titled.archive("Tell me of trees")
        await titled.asked(1)
        assert await titled.titles() == ["Tell me of trees"]
        titled.responder.titles.put_nowait('"Old trees"\n\nI hope that helps!')
        await chat.quiet()
        assert await titled.titles() == ["Old trees"]
        assert titled.changes() == [
            {"change": "renamed", "id": archive_id, "title": "Old trees", "pinned": False}
        ]


async def test_a_title_that_the_user_has_given_meanwhile_stays(tmp_path: Path) -> None:
    """And nobody is asked about an archive that has one already, or is gone when its turn comes."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        first = await titled.archive("one")
        await titled.asked(1)
        second, third = await titled.archive("two"), await titled.archive("three")
        await chat.module.rename_archive(A1, first, "Mine")
        await chat.module.rename_archive(A1, second, "Mine too")
        await chat.module.delete_archive(A1, third)
        titled.responder.titles.put_nowait("Yours")
        await chat.quiet()
        assert await titled.titles() == ["Mine", "Mine too"]
        assert titled.responder.wanted == ["one"]
        assert [each["change"] for each in titled.changes()] == ["renamed", "renamed", "deleted"]


async def test_titles_are_asked_for_one_at_a_time_and_not_too_many(tmp_path: Path) -> None:
    """One user keeps no place from the others; whoever comes too late keeps the first words."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        for number in range(1 + MOST_WAITING_PER_USER + 1):
            await titled.archive(f"a {number}")
        others = [User(f"u{number}", roles=frozenset({"user"})) for number in range(MOST_WAITING)]
        for other in others:
            await titled.archive("b", other)
        await titled.asked(1)
        too_many = 1 + MOST_WAITING_PER_USER
        assert titled.untitled() == ["too many wait"] * too_many
        assert titled.responder.wanted == ["a 0"]
        for number in range(1 + MOST_WAITING):
            titled.responder.titles.put_nowait(f"t {number}")
        await chat.quiet()
        assert await titled.titles() == [f"t {n}" for n in range(1 + MOST_WAITING_PER_USER)] + ["a 5"]
        assert await titled.titles(others[0]) == [f"t {1 + MOST_WAITING_PER_USER}"]
        assert await titled.titles(others[-1]) == ["b"]


@pytest.mark.parametrize("failure", [ResponderError("busy"), OSError("gone"), ""])
async def test_a_model_that_has_no_title_leaves_the_first_words(
    tmp_path: Path, failure: Exception | str
) -> None:
    """With a line at info, and the next archive gets its own."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        await titled.archive("one")
        await titled.archive("two")
        titled.responder.titles.put_nowait(failure)
        titled.responder.titles.put_nowait("Two")
        await chat.quiet()
        assert await titled.titles() == ["one", "Two"]
        assert len(titled.untitled()) == 1
        assert not chat.context.logged("task failed")


async def test_a_model_that_hangs_is_given_up(tmp_path: Path) -> None:
    """By the clock; chats go on meanwhile."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        await titled.archive("one")
        await titled.asked(1)
        await titled.archive("two")
        await chat.clock.advance(TITLE_LIMIT_S - 0.1)
        assert titled.responder.gave_up == 0
        await chat.clock.advance(0.1)
        await titled.asked(2)
        assert titled.responder.gave_up == 1
        assert titled.untitled() == ["TimeoutError()"]


async def test_a_stop_waits_for_no_title(tmp_path: Path) -> None:
    """What is asked for is given up, what waits is forgotten, and what the stop archives is not asked for."""
    titled = TitledChat(tmp_path)
    async with titled.chat as chat:
        await titled.archive("one")
        await titled.archive("two")
        await titled.asked(1)
        titled.responder.answer("yes")
        await chat.ask("three")
        await chat.context.stop(chat.module)
        assert titled.responder.wanted == ["one"]
        assert titled.responder.gave_up == 1
        assert len(chat.context.logged("dialog archived")) == 3


@pytest.mark.parametrize("settings", [{}, {"archives": {"title_by_responder": False}}])
async def test_no_title_is_asked_for_unless_it_is_wanted(tmp_path: Path, settings: dict[str, Any]) -> None:
    """By default it is not."""
    titled = TitledChat(tmp_path, settings)
    async with titled.chat as chat:
        await titled.archive("one")
        await chat.quiet()
        assert titled.responder.wanted == []


async def test_a_responder_without_titles_is_not_asked(tmp_path: Path) -> None:
    """`echo` for one."""
    async with Chat.in_memory(tmp_path, settings=WANTED) as chat:
        await chat.ask("one")
        await chat.module.end_user_session(A1.id)
        await chat.quiet()
        assert [each.title for each in (await chat.module.list_archives(A1)).archives] == ["one"]
        assert not chat.context.logged("archive not titled")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Old trees", "Old trees"),
        ("\n \n**Old  trees**\nmore", "Old trees"),
        ("# Title: *Old trees*", "Old trees"),
        ('TITLE: "Old trees"', "Old trees"),
        ("„Alte Bäume“", "Alte Bäume"),
        ("「古い木」", "古い木"),
        ("Old \u202etrees\u0007", "Old trees"),
        ("word " * 40, "word " * 11 + "word…"),
        ("x" * 200, "x" * 59 + "…"),
        ("", None),
        (' "" \n', None),
        ("\u0007", None),
    ],
)
def test_a_title_is_one_plain_short_line(text: str, title: str | None) -> None:
    """Whatever the model has put around it."""
    assert title_said(text) == title
