"""The methods about sessions, as they are on the wire: a user's own, and for admins everybody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from pydantic import Field

from potoserver import ModuleContext, Presence, User, iso_utc, per_node, rpc

from .journal.records import Reason
from .lifecycle import SessionLife
from .sessions import Session
from .sessions_here import SessionsHere, Wanted
from .watched import SessionsOfNode, SessionsSeen
from .watching import Watching
from .wire import EndedSession, ListedSession, SessionInfo


class SessionMethods:
    """Sessions to look at, and to end; a part of the chat's module."""

    context: ModuleContext
    _life: SessionLife
    _watching: Watching
    _sessions_here: SessionsHere

    @rpc
    async def end_session(self, user: User) -> EndedSession:
        """Ends the user's session now, and archives its dialog."""
        return await self.end_user_session(user.id)

    @rpc
    async def get_session_info(self, user: User) -> SessionInfo | None:
        """The user's own session, or null. No activity: it would hide what it tells."""
        return await self.get_user_session_info(user.id)

    # For admins

    @rpc(roles={"admin"}, about="user_id")
    async def end_user_session(
        self, user_id: str, conversation_id: str | None = None, operator: User | None = None
    ) -> EndedSession:
        """Ends a user's session, behind the calls that came before this, and archives its dialog.

        What others have just ended counts too.

        Args:
            user_id: Whose.
            conversation_id: Which one; another one goes on. Without it, the one that there is.
            operator: Who asks, where it is not the user.

        Raises:
            JournalError: It could not be archived now; that is tried again until it is.
        """
        await self._life.adoption.recovered(user_id)
        session = self._life.sessions.get(user_id)
        if session is not None and conversation_id in (None, session.conversation.id):
            self._life.end(session, Reason.REQUEST)
        ending = self._life.archiver.ending_of(user_id)
        if ending is None or conversation_id not in (None, ending.session.conversation.id):
            return EndedSession(conversation_id=None, archive_id=None)
        if operator is not None:
            self.context.logger("session:operator").info(
                "session ended by operator",
                operator=operator.id,
                user=user_id,
                conversation=ending.session.conversation.id,
            )
        await self._life.archiver.finish(user_id)
        return EndedSession(conversation_id=ending.session.conversation.id, archive_id=ending.archive_id)

    @rpc(roles={"admin"}, anywhere=True)
    async def get_active_session_count(self) -> int:
        """How many sessions are active, on all nodes."""
        gathered = await self.context.nodes.ask_all(self.count_here)
        return sum(gathered.complete().values())

    @per_node
    async def count_here(self) -> int:
        """How many sessions are active on this node."""
        return len(self._life.sessions)

    @rpc(roles={"admin"}, about="user_id")
    async def get_user_session_info(self, user_id: str) -> SessionInfo | None:
        """A user's session, or null.

        Args:
            user_id: Whose.
        """
        session = self._life.sessions.get(user_id)
        if session is not None:
            return _info(session, await self.context.presence_of(user_id), is_active=True)
        ending = self._life.archiver.ending_of(user_id)
        if ending is None:
            return None
        return _info(ending.session, await self.context.presence_of(user_id), is_active=False)

    @rpc(roles={"admin"}, anywhere=True)
    async def list_sessions(
        self, limit: Annotated[int, Field(ge=1, le=1000)] | None = None, cursor: str | None = None
    ) -> list[ListedSession]:
        """All active sessions of all nodes, by user id.

        Args:
            limit: At most so many; without it, all of them.
            cursor: The user id of the last one of the page before.
        """
        nodes = self.context.nodes
        answers = (await nodes.ask_all(self.list_here, limit, cursor)).complete()
        is_alone = len(nodes.living()) == 1
        listed = {
            each.user_id: ListedSession(**each.model_dump(), node=None if is_alone else node_id)
            for node_id, sessions in answers.items()
            for each in sessions
        }
        return [listed[user_id] for user_id in sorted(listed)[:limit]]

    @per_node
    async def list_here(self, limit: int | None, cursor: str | None) -> list[SessionInfo]:
        """The active sessions of this node, by user id, at most so many behind that of a user."""
        users = sorted(each for each in self._life.sessions if cursor is None or each > cursor)[:limit]
        sessions = [self._life.sessions[each] for each in users]
        presences = await self.context.presences_of(users)
        return [_info(*each, is_active=True) for each in zip(sessions, presences, strict=True)]

    @rpc(roles={"admin"}, endless=True, anywhere=True)
    async def watch_sessions(
        self,
        search: Annotated[str, Field(max_length=200)] = "",
        limit: Annotated[int, Field(ge=1, le=1000)] = 200,
    ) -> AsyncIterator[SessionsSeen]:
        """The sessions of all nodes, what each waits for, and dialogs as they are archived.

        Args:
            search: Part of a user's id; only such users' sessions and archives are told of.
            limit: List so many sessions at most: those that wait for their archive, then the newest.
        """
        async with aclosing(self._watching.follow(search, limit)) as items:
            async for item in items:
                yield item

    @per_node
    async def look_here(self, wanted: Wanted) -> SessionsOfNode:
        """The sessions of this node as they are."""
        return await self._sessions_here.look(wanted)


def _info(session: Session, presence: Presence, *, is_active: bool) -> SessionInfo:
    return SessionInfo(
        user_id=session.user_id,
        conversation_id=session.conversation.id,
        started_at=iso_utc(session.conversation.started_ms),
        last_activity=iso_utc(session.last_activity.wall_ms),
        is_active=is_active,
        connections=presence.connections,
    )
