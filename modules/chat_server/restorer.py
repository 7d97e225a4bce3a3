"""Restoring: an archive becomes the current dialog again, and its conversation goes on."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from potoserver import User

from .announcer import Announcer
from .archive_desk import no_such_archive
from .journal.base import DialogueJournal
from .journal.records import OpenDialog, Restored
from .lanes import Lanes
from .lifecycle import SessionLife
from .reads import Reads
from .wire import RestoredDialog

_REMEMBERED_USERS = 16_384

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A restore that has not come to its end: it runs, or it failed, and nobody knows how far it got.

    Attributes:
        archive_id: Of which archive.
        conversation_id: Its conversation.
        superseded: The archive that the dialog became which was current before.
    """

    archive_id: str
    conversation_id: str
    superseded: str | None


class Restorer:
    """Restores archives, each user's one after the other and behind the calls that came before.

    Args:
        announcer: Tells the users' connections.
        journal: Where dialogs are.
        lanes: Each user's order.
        life: The sessions.
        reads: Bounds what reading costs.
    """

    def __init__(
        self,
        announcer: Announcer,
        journal: DialogueJournal,
        lanes: Lanes,
        life: SessionLife,
        reads: Reads,
    ) -> None:
        self._journal = journal
        self._lanes = lanes
        self._life = life
        self._reads = reads
        self._announcer = announcer
        self._last: OrderedDict[str, tuple[str, RestoredDialog]] = OrderedDict()
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._users: Counter[str] = Counter()

    async def restore(self, user: User, archive_id: str) -> RestoredDialog:
        """Makes an archive the current dialog. Who asks twice gets the same answer while it is current.

        What was current is archived as `superseded` first; nothing is, where the archive can't be restored.
        From there on the conversation goes on as if it had never ended, under the same id, and inactivity
        or a departure ends it again. A dialog that has reached its largest size can be restored, but takes
        no further message.

        Raises:
            ProblemError: 404, the user has no such archive; 409, it can't be restored; 503 or 507.
        """
        await self._life.adoption.recovered(user.id)
        self._users[user.id] += 1
        try:
            return await self._restore(user, archive_id)
        finally:
            self._users[user.id] -= 1
            self._users += Counter()  # without those of whom there is none

    async def finish(self) -> None:
        """Waits for the restores that have begun, and for the end of what they restore in a stop."""
        await asyncio.gather(*map(self._finish, list(self._users)), return_exceptions=True)

    async def _finish(self, user_id: str) -> None:
        async with self._lanes.join(user_id):
            pass  # behind the restore
        await self._life.archiver.finish(user_id)

    async def _restore(self, user: User, archive_id: str) -> RestoredDialog:
        # In front of the lane: nobody's message waits for an export or a search.
        await self._reads.all_done(user.id)
        async with self._lanes.join(user.id):
            self._life.refuse_when_stopping()
            again = self._answered(user.id, archive_id)
            if again is not None:
                return again
            with self._reads.out_of_turn(user.id):
                restored = await self._opened(user, archive_id)
            self._life.notices.withdraw(user.id, archive_id)
            await self._life.go_on_with(user.id, restored.dialog.conversation)
            answer = RestoredDialog(
                conversation_id=restored.dialog.conversation.id,
                message_count=restored.dialog.messages,
                superseded=restored.superseded,
            )
            _keep(self._last, user.id, (archive_id, answer))
            await self._announcer.restored(user.id, archive_id, answer)
            return answer

    async def _opened(self, user: User, archive_id: str) -> Restored:
        """Archives what is current, and opens the archive in its place."""
        await self._life.archiver.finish_failed(user.id)
        begun = self._begun.get(user.id)
        if begun is not None and begun.archive_id != archive_id:
            begun = None
        dialog = await self._done_after_all(user, begun) if begun is not None else None
        found = None
        if dialog is None:
            found = await self._journal.find_restorable(user, archive_id)
            if found is None:
                raise no_such_archive()
        if user.id not in self._life.sessions:
            self._life.room.check(user.id)
        superseded = await self._life.supersede(user.id) or (begun.superseded if begun is not None else None)
        if found is not None:
            _keep(self._begun, user.id, _Begun(archive_id, found.conversation.id, superseded))
            restored = await self._journal.restore_archive(user, archive_id)
            if restored is None:
                raise no_such_archive()  # somebody took the file away just now
            dialog, superseded = restored.dialog, superseded or restored.superseded
        assert dialog is not None, "it is open already, or was opened"
        self._begun.pop(user.id, None)
        return Restored(dialog, superseded)

    async def _done_after_all(self, user: User, begun: _Begun) -> OpenDialog | None:
        """The dialog that is open, where it is what a try that failed has opened."""
        dialog = await self._journal.recover(user)
        return dialog if dialog is not None and dialog.conversation.id == begun.conversation_id else None

    def _answered(self, user_id: str, archive_id: str) -> RestoredDialog | None:
        """What the last call was answered, if it was this and is still so."""
        last, session = self._last.get(user_id), self._life.sessions.get(user_id)
        if last is None or session is None:
            return None
        last_id, answer = last
        is_so_still = last_id == archive_id and session.conversation.id == answer.conversation_id
        return answer if is_so_still else None


def _keep(memory: OrderedDict[str, _T], user_id: str, thing: _T) -> None:
    """Keeps one thing of a user; of all users the one who came last least lately is forgotten."""
    memory[user_id] = thing
    memory.move_to_end(user_id)
    if len(memory) > _REMEMBERED_USERS:
        memory.popitem(last=False)
