"""The life of sessions: what the server tells of presence, calls and time, applied to the state machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from typing_extensions import override

from potoserver import Cause, Departure, ModuleContext, Presence, PresenceState, UnavailableError, User

from .adoption import Adoption
from .announcer import Announcer
from .archiver import Archiver, Ending
from .journal.base import DialogueJournal
from .journal.errors import FencedError, JournalError
from .journal.records import Conversation, Reason
from .lanes import Lanes
from .latest import LatestArchives
from .left_behind import LeftBehind
from .notices import Notices
from .room import Room
from .session_records import SessionRecords
from .sessions import Moment, Session, Sessions
from .settings import ChatSettings
from .taking_over import Steps, TakingOver
from .turns import TurnSessions
from .user_tasks import UserTasks

_TOGETHER = 100
"""Of so many idle users at once the engine is asked who is there."""


class SessionLife(TurnSessions, Steps):
    """Starts, continues and ends sessions, and says so in the log.

    Args:
        context: Presence, the clock and logs.
        tasks: Where what goes on for one user does.
        announcer: Tells the users' connections.
        settings: The chat's.
        journal: Where dialogs are.
        lanes: Each user's order.
        on_archived: Told of each archive: user id, archive id.
    """

    def __init__(
        self,
        context: ModuleContext,
        tasks: UserTasks,
        announcer: Announcer,
        settings: ChatSettings,
        journal: DialogueJournal,
        lanes: Lanes,
        on_archived: Callable[[str, str], None],
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._clock = context.clock
        self._settings = settings
        self._journal = journal
        self._lanes = lanes
        self._log = context.logger("session:lifecycle")
        self._activity_log = context.logger("session:activity")
        self._monitoring_log = context.logger("session:monitoring")
        self._stopping = False
        self._left_behind = LeftBehind(context, lanes)
        self.sessions = Sessions()
        self.notices = Notices(context, journal)
        self.latest = LatestArchives(context.clock)
        self.archiver = Archiver(
            context, announcer, tasks, journal, lanes, self.notices, self.latest, on_archived
        )
        self.room = Room(context, settings.max_sessions, self.sessions, self.archiver)
        self.records = SessionRecords(context)
        taking_over = TakingOver(context, announcer, journal, self.sessions, self.records, self.notices, self)
        self.adoption = Adoption(context, tasks, journal, self.sessions, taking_over.adopt, self.end_left)
        self._departed: set[str] = set()
        """Conversations whose users had departed at the last look, and that are open still."""
        self._at_home: set[str] = set()
        """The users whose home this node is, where there may be others."""

    # Connections

    async def arrive(self, user_id: str) -> Session | None:
        """A connection of the user has opened, or is said to have: whoever is there now has a session.

        Returns:
            The user's session; None where there is none to be had: nobody is connected any more, the server
            stops, or it has no room for one.

        Raises:
            ProblemError: The engine or the journal is away.
        """
        await self.adoption.recovered(user_id)
        presence = await self._context.presence_of(user_id)
        if presence.state is PresenceState.ABSENT or self._stopping:
            return self.sessions.get(user_id)
        session = self.sessions.get(user_id)
        self.check_home(user_id)
        if session is not None and session.is_of(presence.generation):
            return session
        begins = session is None or session.is_over(presence.generation)
        if begins and self.room.why_none(user_id):
            if session is not None:
                self.end(session, Reason.DISCONNECT)
            return None
        return self.connect(user_id, presence)

    @override
    def connect(self, user_id: str, presence: Presence) -> Session:
        arrival = self.sessions.connect(user_id, presence.generation, self._now())
        if arrival.ended is not None:
            self._archive(arrival.ended, Reason.DISCONNECT)
        if arrival.started or arrival.continued:
            self.records.note(arrival.session)
        if arrival.started:
            self._log_started(arrival.session)
        elif arrival.continued:
            self.log_continued(arrival.session)
        return arrival.session

    async def connection_closed(self, user_id: str, generation: int) -> None:
        """A connection has ended: if it was the last, a return in the grace is a continuation."""
        presence = await self._context.presence_of(user_id)
        if presence.state is PresenceState.LEAVING and presence.generation == generation:
            self.sessions.leave(user_id, generation)

    async def depart(self, departure: Departure) -> None:
        """The grace has passed. Returns once everything of the user that has ended is archived.

        Raises:
            JournalError: Something is not; call again.
        """
        user_id = departure.user_id
        await self.adoption.recovered(user_id)
        self.check_home(user_id)
        ended = self.sessions.depart(user_id, departure.generation, departure.last_seen_ms)
        if ended is not None:
            self._archive(ended, Reason.DISCONNECT, departure.departed_ms, departure.cause)
        await self.archiver.finish(user_id)

    # Homes: of the server's several nodes, the one where all this happens for a user

    async def gained(self, user_id: str, token: int) -> None:
        """This node is the user's home from now on.

        Raises:
            UnavailableError: What was begun for the user here earlier does not end.
        """
        await self._tasks.none_left(user_id)
        await self._journal.take(User(user_id), token)
        self._at_home.add(user_id)
        self.adoption.gained(user_id)

    def lost(self, user_id: str) -> None:
        """It is not any more: forgets what there is of the user, and writes nothing."""
        self._at_home.discard(user_id)
        self._tasks.cancel(user_id)
        self.adoption.lost(user_id)
        self.archiver.drop(user_id)
        self.sessions.drop(user_id)
        self.records.drop(user_id)
        self.notices.forget(user_id)
        self._context.spawn(self._let_go(user_id), f"let go of {user_id}")

    async def _let_go(self, user_id: str) -> None:
        with suppress(JournalError):  # it is closed
            await self._journal.let_go(User(user_id))

    def needs_home(self, user_id: str) -> bool:
        """Whether anything of the user is under way here."""
        return bool(
            user_id in self.sessions
            or self.archiver.pending_of(user_id)
            or self._lanes.length(user_id)
            or self.adoption.has(user_id)
        )

    def users_at_home(self) -> list[str]:
        """The users whose home this node is, where there may be others."""
        return list(self._at_home)

    @override
    def check_home(self, user_id: str) -> None:
        if self._context.homes.shared and user_id not in self._at_home:
            raise FencedError

    @override
    def end_left(self, session: Session) -> None:
        self.end(session, Reason.SHUTDOWN if self._stopping else Reason.RECOVERED)

    # Calls

    def see(self, user_id: str) -> None:
        """The user has called, but said nothing: activity of the session that there is.

        Whoever looks for an archive must not delay it: this keeps no session from the end of the grace.
        """
        session = self.sessions.see(user_id, self._now())
        if session is not None:
            self._log_activity(session)

    @override
    def call(self, user_id: str) -> Session | None:
        called = self.sessions.call(user_id, self._now())
        if called is None:
            return None
        session, continued = called
        if continued:
            self.log_continued(session)
        self._log_activity(session)
        return session

    @override
    async def open(self, user_id: str, called: Session | None) -> Session:
        if called is not None and called not in self._left_behind:
            return called
        await self.adoption.recovered(user_id)
        presence = await self._context.presence_of(user_id)
        if self._stopping:
            raise UnavailableError("The server is stopping; try again in a moment.")
        # A session that ended while the call was waiting is still the call's: its ending waits in turn.
        self.check_home(user_id)
        session = self.archiver.waiting_session(user_id) or self.call(user_id)
        if session is None:
            self.room.check(user_id)
            session = self.start(user_id, presence)
            self.call(user_id)
        return session

    async def supersede(self, user_id: str) -> str | None:
        """Ends the user's session, if there is one, for another conversation; in the user's lane.

        One that ended while that waited for its turn is archived now, for the reason that it has.

        Returns:
            Its archive's id; None where there was no session, or no message in it.

        Raises:
            JournalError: It could not be archived now; that is tried again until it is.
        """
        archive_id = None
        for ending in self.archiver.waiting(user_id):
            self._left_behind.add(ending.session)
            await self.archiver.archive_now(ending)
            archive_id = ending.archive_id or archive_id
        session = self.sessions.get(user_id)
        if session is not None and self.sessions.end(session) is not None:
            self._left_behind.add(session)
            ending = self._ending(session, Reason.SUPERSEDED)
            await self.archiver.archive_now(ending)
            archive_id = ending.archive_id or archive_id
        return archive_id

    async def go_on_with(self, user_id: str, conversation: Conversation) -> None:
        """Makes an older conversation the user's session, in the user's lane, once it is open in the journal.

        The calls that came for the conversation before, and wait, belong to this one then.
        """
        generation = None
        with suppress(UnavailableError):  # then the fallback governs it, until the user connects again
            presence = await self._context.presence_of(user_id)
            generation = None if presence.state is PresenceState.ABSENT else presence.generation
        self.check_home(user_id)
        session, replaced = self.sessions.go_on_with(user_id, conversation, self._now(), generation)
        if replaced is not None:
            self._left_behind.add(replaced)
        self.records.note(session)
        self.log_continued(session)
        self._log_activity(session)
        if self._stopping:
            self.end(session, Reason.SHUTDOWN)

    def refuse_when_stopping(self) -> None:
        """Sees whether anything may still begin.

        Raises:
            UnavailableError: The server stops.
        """
        if self._stopping or self._context.draining:
            raise UnavailableError("The server is stopping; try again in a moment.")

    def start(self, user_id: str, presence: Presence, conversation_id: str | None = None) -> Session:
        """Begins a session for a user who has none; without a connection, the fallback is to end it."""
        self.check_home(user_id)
        generation = None if presence.state is PresenceState.ABSENT else presence.generation
        session = self.sessions.start(user_id, self._now(), generation, conversation_id)
        self.records.note(session)
        self._log_started(session)
        return session

    # Ends

    def end(self, session: Session, reason: Reason) -> None:
        """Ends a session, named by its conversation, unless it has ended already."""
        ended = self.sessions.end(session)
        if ended is not None:
            self._archive(ended, reason)

    async def end_idle(self) -> None:
        """The fallback: ends the sessions whose users have been inactive for too long.

        Who has departed is left to the departure, which says why, until the next look: it may be lost.
        """
        timeout_s = self._settings.session_timeout_ms / 1000
        connected_too = self._settings.session_timeout_scope == "idle"
        idle_sessions = self.sessions.idle(self._clock.monotonic_s(), timeout_s)
        ended_count = 0
        departed_before, self._departed = self._departed, set()
        for start in range(0, len(idle_sessions), _TOGETHER):
            # A call that still runs is activity.
            some = [
                idle
                for idle in idle_sessions[start : start + _TOGETHER]
                if not self._lanes.length(idle.user_id)
            ]
            presences = await self._context.presences_of([idle.user_id for idle in some])
            for idle, presence in zip(some, presences, strict=True):
                conversation_id = idle.conversation.id
                has_departed = idle.generation is not None and presence.state is PresenceState.ABSENT
                if has_departed and conversation_id not in departed_before:
                    self._departed.add(conversation_id)
                    continue
                ended = self.sessions.expire(idle, presence.state, connected_too=connected_too)
                if ended is not None:
                    ended_count += 1
                    self._archive(ended, Reason.TIMEOUT)
            await asyncio.sleep(0)  # a hundred thousand may be idle at once; others have their turn
        self._monitoring_log.debug(
            "sessions checked", sessions=len(self.sessions), idle=len(idle_sessions), ended=ended_count
        )

    def stop(self, *, hand_over: bool) -> None:
        """Ends every session, at once: an event that comes after finds none. No other one begins.

        Where the start failed nobody could come back, so what a crash left open stays open, for the next one.

        Args:
            hand_over: None ends: another node goes on with them.
        """
        self._stopping = True
        context = self._context
        self.adoption.stop(to_the_last=context.homes.shared and context.started and not hand_over)
        self.archiver.stop()
        if hand_over or not self._context.started:
            return
        for session in list(self.sessions.values()):
            self.end(session, Reason.RECOVERED if session.adopted else Reason.SHUTDOWN)

    def _archive(
        self, session: Session, reason: Reason, ended_ms: int | None = None, cause: Cause | None = None
    ) -> None:
        self.archiver.begin(self._ending(session, reason, ended_ms, cause))

    def _ending(
        self, session: Session, reason: Reason, ended_ms: int | None = None, cause: Cause | None = None
    ) -> Ending:
        self.records.forget(session.user_id)
        self._log.info(
            "session ended",
            user=session.user_id,
            conversation=session.conversation.id,
            reason=reason.value,
        )
        ended_ms = self._context.presence_now_ms() if ended_ms is None else ended_ms
        return Ending(session, reason, ended_ms, cause=cause)

    # Small things

    def _now(self) -> Moment:
        return Moment(self._context.presence_now_ms(), self._clock.monotonic_s())

    def _log_activity(self, session: Session) -> None:
        self._activity_log.info(
            "session activity updated", user=session.user_id, conversation=session.conversation.id
        )

    def _log_started(self, session: Session) -> None:
        self._log.info(
            "session started",
            user=session.user_id,
            conversation=session.conversation.id,
            generation=session.generation,
        )

    @override
    def log_continued(self, session: Session) -> None:
        self._log.info(
            "session continued",
            user=session.user_id,
            conversation=session.conversation.id,
            generation=session.generation,
        )
