"""Titles for archives by the model that answered in them, one at a time, where a setting wants them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from potoserver import ModuleContext, User

from .announcer import Announcer
from .journal.base import DialogueJournal
from .journal.titles import fold, words_of
from .reads import Reads
from .responders import Responder

TITLE_LIMIT_S = 30.0
"""What a title may take."""
MOST_WAITING = 100
MOST_WAITING_PER_USER = 4
_QUOTES_AND_MARKS = "\"'`*_#“”„‟«»‘’「」『』 "
_LABEL = "title:"
"""What models put around a title, though they are asked for nothing else."""


@dataclass(frozen=True, slots=True)
class _Untitled:
    user_id: str
    archive_id: str


class Titler:
    """Asks the responder what an archive could be called, and calls it that unless its user was first.

    Nobody waits for a title, least of all a shutdown: what has none by then is called by its first words, and
    so is what a model that is slow or away, or too many archives at once, have left without one.

    Args:
        context: The clock, owned tasks and logs.
        announcer: Tells the users' connections.
        journal: Where archives are.
        responder: Who is asked.
        reads: Bounds what reading costs.
        wanted: Whether titles are; for a responder that can't give any they never are.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        journal: DialogueJournal,
        responder: Responder,
        reads: Reads,
        *,
        wanted: bool,
    ) -> None:
        self._context = context
        self._journal = journal
        self._responder = responder
        self._reads = reads
        self._wanted = wanted and responder.gives_titles
        self._announcer = announcer
        self._logger = context.logger("session:title")
        self._waiting: deque[_Untitled] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask_for(self, user_id: str, archive_id: str) -> None:
        """A dialog was archived: it gets a title when its turn has come."""
        if not self._wanted:
            return
        of_user = sum(each.user_id == user_id for each in self._waiting)
        if len(self._waiting) >= MOST_WAITING or of_user >= MOST_WAITING_PER_USER:
            self._log_untitled(_Untitled(user_id, archive_id), "too many wait")
            return
        self._waiting.append(_Untitled(user_id, archive_id))
        if self._task is None or self._task.done():
            self._task = self._context.spawn(self._run(), "titles for archives")

    def stop(self) -> None:
        """Gives up the title that is asked for and those that wait."""
        self._wanted = False
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            untitled = self._waiting.popleft()
            try:
                await self._give_title(User(untitled.user_id), untitled.archive_id)
            except Exception as error:  # noqa: BLE001 - whatever it was, the first words will do
                self._log_untitled(untitled, repr(error))

    async def _give_title(self, user: User, archive_id: str) -> None:
        async with self._reads.turn(user.id):
            dialog = await self._journal.get_archive(user, archive_id)
        if dialog is None or dialog.title is not None:
            return
        async with self._context.clock.timeout(TITLE_LIMIT_S):
            title = title_said(await self._responder.title(dialog.messages))
        if title is None:
            self._log_untitled(_Untitled(user.id, archive_id), "the model has said none")
            return
        async with self._reads.turn(user.id):
            archive = await self._journal.rename_archive(user, archive_id, title, only_untitled=True)
        if archive is not None:
            await self._announcer.archives(
                user.id, "renamed", archive_id, archive.shown_title, pinned=archive.pinned
            )

    def _log_untitled(self, untitled: _Untitled, why: str) -> None:
        self._logger.info("archive not titled", user=untitled.user_id, archive=untitled.archive_id, why=why)


def title_said(text: str) -> str | None:
    """The title in what a model says: its first line, plain, as short as first words are; None for none."""
    lines = (fold(line) for line in text.splitlines())
    title = next((line for line in lines if line), "").strip(_QUOTES_AND_MARKS)
    if title[: len(_LABEL)].casefold() == _LABEL:
        title = title[len(_LABEL) :].strip(_QUOTES_AND_MARKS)
    return words_of(title) if title else None
