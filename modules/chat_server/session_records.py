"""What another node must know of a session to go on with it; kept with the engine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from potoserver import ModuleContext, UnavailableError

from .sessions import Session

_NAME: Final = "session"
_LIFETIME_S: Final = 7 * 24 * 60 * 60.0
"""Longer than a session lasts that nobody touches; each arrival of its user begins it anew."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it stood.

    Attributes:
        session: It.
        handed_over: Its node stopped and gave it away as it is. Else it was left behind by a node that died,
            and may have gone on since.
    """

    session: Session
    handed_over: bool = False


_RECORD: Final = TypeAdapter(SessionRecord)


@dataclass(slots=True, eq=False)
class _Kept:
    """What is known of one user's record.

    Attributes:
        written: What stands in the engine; None: nothing.
        wanted: What is to stand there.
        writing: Sees to that.
    """

    written: str | None = None
    wanted: str | None = None
    writing: asyncio.Task[None] | None = None


class SessionRecords:
    """The records of the sessions of this node. Without other nodes there are none.

    A record helps, and nothing hangs on it: a dialog is open on disk, record or not.

    Args:
        context: Keeps them.
    """

    def __init__(self, context: ModuleContext) -> None:
        self._context = context
        self._logger = context.logger("session:recovery")
        self._by_user: dict[str, _Kept] = {}

    def note(self, session: Session) -> None:
        """A session has begun, or is governed by another generation of its user."""
        if self._context.homes.shared:
            self._want(session.user_id, _RECORD.dump_json(SessionRecord(session)).decode())

    def forget(self, user_id: str) -> None:
        """The user's session has ended."""
        if user_id in self._by_user:
            self._want(user_id, None)

    def drop(self, user_id: str) -> None:
        """The user is at home elsewhere: what stands there is another node's."""
        kept = self._by_user.pop(user_id, None)
        if kept is not None:
            kept.wanted = kept.written

    async def read(self, user_id: str) -> SessionRecord | None:
        """What the node has left on which the user was at home before.

        Raises:
            UnavailableError: The engine is away.
        """
        text = await self._context.get_state(user_id, _NAME)
        self._by_user[user_id] = _Kept(text, text)
        if text is None:
            return None
        try:
            return _RECORD.validate_json(text)
        except ValidationError:
            self._logger.warning("record of a session not understood", user=user_id)
            return None

    async def hand_over(self, session: Session) -> None:
        """Gives a session away as it is.

        Raises:
            UnavailableError: The engine is away.
        """
        kept = self._by_user.pop(session.user_id, None) or _Kept()
        if kept.writing is not None:
            await asyncio.wait({kept.writing})
        record = SessionRecord(replace(session, left=False), handed_over=True)
        text = _RECORD.dump_json(record).decode()
        await self._context.swap_state(session.user_id, _NAME, kept.written, text, _LIFETIME_S)

    def _want(self, user_id: str, text: str | None) -> None:
        kept = self._by_user.setdefault(user_id, _Kept())
        kept.wanted = text
        if kept.writing is None and kept.wanted != kept.written:
            kept.writing = self._context.spawn(self._write(user_id, kept), f"session record of {user_id}")

    async def _write(self, user_id: str, kept: _Kept) -> None:
        try:
            while kept.wanted != kept.written:
                text = kept.wanted
                if await self._context.swap_state(user_id, _NAME, kept.written, text, _LIFETIME_S):
                    kept.written = text
                elif await self._context.get_state(user_id, _NAME) is None:
                    kept.written = None  # it has lapsed
                else:
                    break  # it is another node's, and the user, too
        except UnavailableError as error:
            self._logger.debug("session record not written", user=user_id, error=str(error))
            kept.wanted = kept.written
        finally:
            kept.writing = None
            if kept.written is None and self._by_user.get(user_id) is kept:
                del self._by_user[user_id]
