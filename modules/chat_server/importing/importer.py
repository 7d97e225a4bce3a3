"""Imports archives for a user, and tells the user's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from potoserver import FieldError, ModuleContext, ProblemError, User

from ..announcer import Announcer
from ..journal.base import DialogueJournal
from ..lifecycle import SessionLife
from ..reads import Reads
from .reading import read_archives, read_list
from .shapes import ImportedArchive, ImportedArchives, ListedMessage, NewArchive


class Importer:
    """Adds what is sent, all of it or nothing.

    Args:
        context: The clock.
        announcer: Tells the users' connections.
        journal: Where archives are.
        life: Told that the user has called.
        reads: Bounds what reading costs.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        journal: DialogueJournal,
        life: SessionLife,
        reads: Reads,
    ) -> None:
        self._clock = context.clock
        self._journal = journal
        self._life = life
        self._reads = reads
        self._announcer = announcer

    async def add(
        self,
        user: User,
        archives: Sequence[ImportedArchive] | None,
        messages: Sequence[ListedMessage] | None,
        title: str | None,
    ) -> ImportedArchives:
        """Imports archives of an export, or one list of messages. A repeat adds nothing.

        Raises:
            ProblemError: 422 with the path of each field that is wrong; 507, there is no room. Nothing was
                added then.
        """
        self._life.see(user.id)
        now_ms = self._clock.now_ms()
        if (archives is None) == (messages is None):
            _refuse("archives", "give either archives or messages")
        if archives is not None and title is not None:
            _refuse("title", "goes with messages; archives have titles of their own")
        async with self._reads.turn(user.id):
            if archives is not None:
                dialogs = await asyncio.to_thread(read_archives, user.id, archives, now_ms)
            else:
                dialogs = await asyncio.to_thread(read_list, user.id, messages or (), title, now_ms)
            outcome = await self._journal.import_archives(user, dialogs)
        if outcome.imported:
            await self._announcer.archives(user.id, "imported")
        return ImportedArchives(
            imported=tuple(NewArchive(id=each.id, title=each.shown_title) for each in outcome.imported),
            skipped=outcome.skipped,
        )


def _refuse(field: str, expected: str) -> None:
    raise ProblemError(422, "The arguments are not valid.", errors=[FieldError(field, expected)])
