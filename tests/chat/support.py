"""A chat module on a fake context, and responders that a test leads by the hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    Dialog,
    DialogueJournal,
    MemoryDialogueJournal,
    Message,
    Reason,
)
from modules.chat_server.module import ChatServerModule
from modules.chat_server.responders import Chunk, Responder
from modules.chat_server.settings import ChatSettings
from modules.chat_server.wire import ChatReply, ReplyDelta
from potoserver import Call, Done, ProblemError, User

from ..support.clock import ManualClock, settle
from ..support.fake_context import FakeContext

A1 = User("a1", roles=frozenset({"user"}))


class LedResponder(Responder):
    """Answers when the test says so.

    Attributes:
        asked: The histories that it was asked with.
        options: The further arguments of each.
    """

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self._pieces: asyncio.Queue[Chunk | BaseException] = asyncio.Queue()

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self._pieces.put_nowait(Chunk(piece))

    def end(self, finish_reason: str = "stop") -> None:
        self._pieces.put_nowait(Chunk(finish_reason=finish_reason, model="led"))

    def answer(self, text: str) -> None:
        self.say(text)
        self.end()

    def fail(self, error: BaseException) -> None:
        self._pieces.put_nowait(error)

    @override
    async def reply(self, history: Sequence[Message], **options: Any) -> AsyncGenerator[Chunk, None]:
        self.asked.append([message.content for message in history])
        self.options.append(options)
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if piece.finish_reason:
                return


class Chat:
    """A started chat module and what is around it."""

    def __init__(
        self,
        folder: Path,
        *,
        journal: DialogueJournal | None = None,
        responder: Responder | None = None,
        clock: ManualClock | None = None,
        settings: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> None:
        self.context = FakeContext(
            folder / "data", ChatSettings.model_validate(settings or {}), clock=clock, **context
        )
        self.clock = self.context.manual_clock
        self.journal = journal
        self.module = ChatServerModule(journal, responder)
        self._calls = 0

    @classmethod
    def in_memory(
        cls, folder: Path, kind: type[MemoryDialogueJournal] = MemoryDialogueJournal, **options: Any
    ) -> Chat:
        clock = options.pop("clock", None) or ManualClock()
        chat = cls(folder, clock=clock, **options)
        chat.journal = chat.module._given_journal = kind(
            clock=clock, logger=chat.context.logger, registry=chat.context.registry
        )
        return chat

    async def __aenter__(self) -> Chat:
        await self.context.start(self.module)
        return self

    async def __aexit__(self, *error: object) -> None:
        if not self.context.draining:
            await self.context.stop(self.module)

    def begin(
        self, message: str, *, user: User = A1, key: str | None = None, whole: bool = False, **options: Any
    ) -> Asked:
        """Makes a call that goes on by itself."""
        self._calls += 1
        call = Call(user, f"r-{self._calls}", key, whole)
        return Asked(self.module, call, message, options)

    async def ask(self, message: str, **options: Any) -> ChatReply:
        """Makes a call and awaits its answer."""
        return await self.begin(message, **options).answer()

    async def archives(self, user: User = A1) -> list[Dialog]:
        """The user's archives, oldest first."""
        page = await self.module.dialogue_journal.list_archives(user, 100, None)
        dialogs = [
            await self.module.dialogue_journal.get_archive(user, each.id) for each in reversed(page.archives)
        ]
        return [each for each in dialogs if each is not None]

    async def open_texts(self, user: User = A1) -> list[str]:
        """The contents of the user's open dialog."""
        return [each.content for each in await self.module.dialogue_journal.get_conversation(user)]

    async def until(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await settle(200)

    async def quiet(self) -> None:
        """Waits until no owned task is left: also those that wait for threads."""
        async with asyncio.timeout(10):
            while len(self.context.tasks):
                await asyncio.wait(set(self.context.tasks._tasks))


class Asked:
    """A call on its way."""

    def __init__(self, module: ChatServerModule, call: Call, message: str, options: dict[str, Any]) -> None:
        self.deltas: list[ReplyDelta] = []
        self.stream = module.chat_with_history(call, message, **options)
        self.task = asyncio.create_task(self._follow(), name="the call")

    async def _follow(self) -> ChatReply | ProblemError:
        result: ChatReply | None = None
        try:
            async for item in self.stream:
                if isinstance(item, Done):
                    result = item.result
                else:
                    self.deltas.append(item)
        except ProblemError as problem:
            return problem
        assert result is not None
        return result

    async def answer(self) -> ChatReply:
        async with asyncio.timeout(10):
            answer = await asyncio.shield(self.task)
        if isinstance(answer, ProblemError):
            raise answer
        return answer

    async def problem(self) -> ProblemError:
        async with asyncio.timeout(10):
            answer = await asyncio.shield(self.task)
        assert isinstance(answer, ProblemError), answer
        return answer


async def archived(chat: Chat, text: str = "old", user: User = A1) -> tuple[str, str]:
    """A new archive's id and its conversation."""
    reply = await chat.ask(text, user=user)
    archive_id = (await chat.module.end_user_session(user.id)).archive_id
    assert archive_id is not None
    return archive_id, reply.conversation_id


def texts(dialog: Dialog) -> list[str]:
    return [message.content for message in dialog.messages]


def reasons(dialogs: Sequence[Dialog]) -> list[Reason | None]:
    return [dialog.reason for dialog in dialogs]


def question(text: str, clock: ManualClock, **fields: Any) -> Message:
    return Message("user", text, f"m-{text}", clock.now_ms(), **fields)


def conversation(clock: ManualClock, name: str = "left-open") -> Conversation:
    return Conversation(name, clock.now_ms())
