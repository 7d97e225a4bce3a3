"""What was left of a user, by a crash or by the node where the user was at home, becomes a session again."""

from __future__ import annotations

from typing import Final, Protocol

from potoserver import ModuleContext, Presence, PresenceState, User

from .announcer import Announcer
from .journal.base import DialogueJournal
from .journal.records import OpenDialog
from .notices import Notices
from .session_records import SessionRecords
from .sessions import Moment, Session, Sessions

_LOOKED_AT: Final = 5
"""Of how many archives, the newest, it is seen whether a session that left nothing open has become one."""
_RECENT_MS: Final = 60_000
"""Where the log has nothing of the dialog, an older message counts as told, its event as forgotten since."""


class Steps(Protocol):
    """What the life of sessions does for this."""

    def check_home(self, user_id: str) -> None:
        """Sees whether something may begin for the user here; raises FencedError where it may not."""

    def connect(self, user_id: str, presence: Presence) -> Session:
        """The user is here, or was a moment ago: governs the session by that presence."""

    def end_left(self, session: Session) -> None:
        """Nobody goes on with it."""

    def log_continued(self, session: Session) -> None:
        """Says so."""


class TakingOver:
    """Adopts dialogs that are open on disk, and goes on with sessions that other nodes had.

    Args:
        context: Presence, the clock and logs.
        announcer: Tells the users' connections.
        journal: Where archives are.
        sessions: Where adopted sessions go.
        records: What other nodes have left.
        notices: Told that what is archived of such a user is no news.
        steps: What is to be done.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        journal: DialogueJournal,
        sessions: Sessions,
        records: SessionRecords,
        notices: Notices,
        steps: Steps,
    ) -> None:
        self._context = context
        self._journal = journal
        self._sessions = sessions
        self._records = records
        self._notices = notices
        self._steps = steps
        self._announcer = announcer
        self._logger = context.logger("session:recovery")

    async def adopt(self, user_id: str, dialog: OpenDialog | None) -> None:
        """Makes the dialog that is open a session; or without one the session that had none yet.

        Raises:
            ProblemError: The engine or the journal is away, or the user has moved on.
        """
        if self._context.homes.shared:
            await self._from_elsewhere(user_id, dialog)
        elif dialog is not None:
            self._adopt(user_id, dialog)

    async def _from_elsewhere(self, user_id: str, dialog: OpenDialog | None) -> None:
        record = await self._records.read(user_id)
        presence = await self._context.presence_of(user_id)
        left = record.session if record is not None else None
        of_dialog = left is not None and dialog is not None and left.conversation.id == dialog.conversation.id
        absent = presence.state is PresenceState.ABSENT
        # Where nothing was said it goes on for who is here, unless its dialog was archived meanwhile.
        if left is not None and not of_dialog and (absent or await self._was_archived(left)):
            self._records.forget(user_id)
            left = None
        if dialog is not None:
            await self._tell_what_was_not(user_id, dialog)
        self._steps.check_home(user_id)
        if dialog is not None and (left is None or (of_dialog and not (record and record.handed_over))):
            self._adopt(user_id, dialog, left.generation if left is not None else None)
        elif left is not None:
            if dialog is not None and not of_dialog:
                # That one had ended, and its archive was to come.
                self._steps.end_left(self._adopt(user_id, dialog))
            self._steps.log_continued(self._sessions.take_over(left, self._now()))
        else:
            return
        if not absent:
            self._records.note(self._steps.connect(user_id, presence))
        if presence.state is PresenceState.LEAVING:
            self._sessions.leave(user_id, presence.generation)

    async def _tell_what_was_not(self, user_id: str, dialog: OpenDialog) -> None:
        """Tells what the node before has kept and not told: it died, or the engine was away.

        And that a reply will not come which it was in the middle of.
        """
        since_ms = self._context.presence_now_ms() - _RECENT_MS  # by the clock that stamped the messages
        told = await self._context.published_of(user_id)
        if not told and dialog.last_activity_ms < since_ms:
            return
        messages = await self._journal.get_conversation(User(user_id))
        await self._announcer.go_on(user_id, dialog.conversation.id, messages, told, since_ms)

    def _adopt(self, user_id: str, dialog: OpenDialog, generation: int | None = None) -> Session:
        session = self._sessions.adopt(
            user_id,
            dialog.conversation,
            dialog.last_activity_ms,
            self._context.clock.monotonic_s(),
            generation,
        )
        self._notices.told(user_id)
        self._logger.info(
            "session adopted",
            user=user_id,
            conversation=dialog.conversation.id,
            messages=dialog.messages,
        )
        return session

    async def _was_archived(self, session: Session) -> bool:
        page = await self._journal.list_archives(User(session.user_id), _LOOKED_AT, None)
        return any(each.conversation.id == session.conversation.id for each in page.archives)

    def _now(self) -> Moment:
        return Moment(self._context.presence_now_ms(), self._context.clock.monotonic_s())
