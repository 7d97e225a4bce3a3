"""The sessions of this node as admins see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple

from potoserver import (
    ModuleContext,
    Presence,
    PresenceState,
    Rates,
    UnavailableError,
    User,
    iso_utc,
)

from .archiver import Ending
from .journal.base import DialogueJournal
from .journal.errors import JournalError
from .latest import LatestArchive
from .lifecycle import SessionLife
from .sessions import Session
from .settings import ChatSettings
from .turns import Turns
from .watched import ArchivedEvent, SessionRates, SessionsOfNode, SessionState, Waiting

_RATES = {
    "messages_per_s": "potoserver_journal_append_seconds_count",
    "replies_per_s": "potoserver_chat_replies_total",
    "archives_per_s": "potoserver_archives_total",
}
_COUNTED_AT_ONCE = 20
"""Of how many new archives the messages are looked up, which is in their files, at one look."""


class Wanted(NamedTuple):
    """What one reader wants to see."""

    search: str
    limit: int


class _Waits(NamedTuple):
    """What a session waits for, until when (wall ms), and more about it."""

    what: Waiting | None = None
    until_ms: int | None = None
    detail: str | None = None


class SessionsHere:
    """Looks at this node's sessions, at endings on their way to the archive, and at what was archived.

    Args:
        context: Presence, the clock and the metrics.
        settings: The chat's.
        journal: Knows how many messages an archive holds.
        life: The sessions.
        turns: The replies in flight.
    """

    def __init__(
        self,
        context: ModuleContext,
        settings: ChatSettings,
        journal: DialogueJournal,
        life: SessionLife,
        turns: Turns,
    ) -> None:
        self._context = context
        self._timeout_ms = settings.session_timeout_ms
        self._journal = journal
        self._life = life
        self._turns = turns
        self._rates = Rates(context.registry, context.clock, _RATES.values())

    async def look(self, wanted: Wanted) -> SessionsOfNode:
        """All of it at this moment."""
        life = self._life
        rates = self._rates.look()
        return SessionsOfNode(
            active=len(life.sessions),
            pending_archives=life.archiver.pending,
            sessions=await self._states(list(self._matching(wanted))),
            archived=tuple([_event(each) for each in await self._counted() if wanted.search in each.user_id]),
            rates=SessionRates(**{field: rates[name] for field, name in _RATES.items()}) if rates else None,
            archives_took_s=tuple(life.latest.seconds()),
        )

    def _matching(self, wanted: Wanted) -> Iterator[Session | Ending]:
        """What waits for its archive first, then the sessions, the newest first."""
        every: chain[Session | Ending]
        every = chain(self._life.archiver.endings(), self._life.sessions.newest_first())
        return islice((each for each in every if wanted.search in _session_of(each).user_id), wanted.limit)

    async def _states(self, every: Sequence[Session | Ending]) -> tuple[SessionState, ...]:
        presences: Sequence[Presence | None]
        try:
            presences = await self._context.presences_of([_session_of(each).user_id for each in every])
        except UnavailableError:
            presences = [None] * len(every)
        return tuple(map(self._state, every, presences))

    def _state(self, each: Session | Ending, presence: Presence | None) -> SessionState:
        session = _session_of(each)
        waits = self._ending_waits(each) if isinstance(each, Ending) else self._session_waits(each, presence)
        return SessionState(
            user_id=session.user_id,
            conversation_id=session.conversation.id,
            started_at=iso_utc(session.conversation.started_ms),
            last_activity=iso_utc(session.last_activity.wall_ms),
            connections=presence.connections if presence is not None else None,
            waiting_for=waits.what,
            waiting_until=iso_utc(waits.until_ms) if waits.until_ms is not None else None,
            detail=waits.detail,
            is_active=isinstance(each, Session),
        )

    def _ending_waits(self, ending: Ending) -> _Waits:
        user_id = ending.session.user_id
        if ending.tries:
            times = "once" if ending.tries == 1 else f"{ending.tries} times"
            retry_ms = self._life.archiver.retry_ms(user_id)
            return _Waits("archive", retry_ms, f"tried {times}: {ending.error}")
        if ending.waiting and self._turns.reply_until_ms(user_id) is not None:
            return _Waits("archive", self._turns.reply_until_ms(user_id), "behind the reply in flight")
        return _Waits("archive")

    def _session_waits(self, session: Session, presence: Presence | None) -> _Waits:
        reply_until_ms = self._turns.reply_until_ms(session.user_id)
        if reply_until_ms is not None:
            return _Waits("reply", reply_until_ms)
        if session.adopted:
            return _Waits("adoption", self._life.adoption.until_ms)
        if presence is None or presence.state is PresenceState.ONLINE:
            return _Waits()
        if presence.departs_ms is not None and session.generation == presence.generation:
            last_seen_ms = presence.departs_ms - self._context.grace_ms
            if session.last_message_ms <= last_seen_ms:  # a call in the grace keeps it
                return _Waits("grace", presence.departs_ms)
        return _Waits("timeout", session.last_activity.wall_ms + self._timeout_ms)

    async def _counted(self) -> list[LatestArchive]:
        """The newest archives; of those that nobody has seen yet, some have their messages counted first."""
        newest = list(self._life.latest.newest())
        uncounted = [each for each in reversed(newest) if not each.counted]
        for archive in uncounted[:_COUNTED_AT_ONCE]:
            with suppress(JournalError):
                page = await self._journal.list_archives(User(archive.user_id), 1, None)
                archive.counted = True
                for each in page.archives:
                    if each.id == archive.archive_id:  # else the user's next one has come already
                        archive.message_count = each.message_count
        return newest


def _session_of(each: Session | Ending) -> Session:
    return each.session if isinstance(each, Ending) else each


def _event(archive: LatestArchive) -> ArchivedEvent:
    return ArchivedEvent(
        user_id=archive.user_id,
        archive_id=archive.archive_id,
        conversation_id=archive.conversation_id,
        reason=archive.reason,
        cause=archive.cause,
        ended_at=iso_utc(archive.ended_ms),
        message_count=archive.message_count,
    )
