"""Users' sessions as a state machine: no I/O, no waiting, times passed in."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from typing_extensions import override

from potoserver import Ids, PresenceState

from .journal.records import Conversation

_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_CHARS = 9
_CHAR_OF = (_ID_ALPHABET * 8)[:256].encode()
"""Which character a random byte stands for."""
_UNEVEN = bytes(range(256 // len(_ID_ALPHABET) * len(_ID_ALPHABET), 256))
"""The bytes that are left out, since with them some characters would come more often."""


class Moment(NamedTuple):
    """One moment on both clocks.

    Attributes:
        wall_ms: Wall time, milliseconds since 1970 UTC, by the clock of presence: for stamps, and to compare
            with a departure's, or with another node's.
        monotonic_s: Monotonic seconds: for durations, since wall time may be stepped.
    """

    wall_ms: int
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """One user's session.

    Attributes:
        user_id: Whose.
        conversation: The dialog that it writes.
        last_activity: The user's last call of the chat, else the start. The fallback looks at it.
        last_message_ms: When the last call came that belongs to the conversation: wall time, milliseconds
            since 1970 UTC; 0 for none. One in the grace keeps the session.
        generation: The presence generation whose departure ends it. None while no connection governs it:
            it was begun by a call, adopted, or called upon in the grace; then the fallback ends it.
        adopted: A crash left it open and nobody has gone on with it yet.
        left: The last connection is gone, the grace is running.
    """

    user_id: str
    conversation: Conversation
    last_activity: Moment
    last_message_ms: int = 0
    generation: int | None = None
    adopted: bool = False
    left: bool = False

    def is_of(self, generation: int) -> bool:
        """Whether a connection of that generation changes nothing: it governs this session already."""
        return self.generation == generation and not (self.adopted or self.left)

    def is_over(self, generation: int) -> bool:
        """Whether a connection of that generation shows that this session's departure has been."""
        return self.generation is not None and self.generation < generation


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a connection did to the sessions of its user.

    Attributes:
        session: The session that it belongs to.
        started: The session is new.
        continued: The session was there, and a user came back to it.
        ended: An older session that had to end for it, or None.
    """

    session: Session
    started: bool = False
    continued: bool = False
    ended: Session | None = None


class ConversationIds:
    """New ids of conversations."""

    def __init__(self) -> None:
        self._ids = Ids((_drawn, _ID_CHARS, _ID_CHARS))

    def __call__(self, at_ms: int) -> str:
        """`sse-<ms>-<9 of a-z0-9>`, never the same twice."""
        return f"sse-{at_ms}-{self._ids.next()}"


def _drawn(count: int) -> str:
    """So many random characters."""
    text = ""
    while len(text) < count:
        text += secrets.token_bytes(count).translate(_CHAR_OF, _UNEVEN).decode()
    return text[:count]


class Sessions(Mapping[str, Session]):
    """Every user's session, at most one each, by user id.

    A session that has ended is no longer in here; whoever ended it sees to its archive.

    Args:
        new_id: Makes a conversation's id from the time it starts, in wall ms.
    """

    def __init__(self, new_id: Callable[[int], str] | None = None) -> None:
        self._new_id = new_id or ConversationIds()
        self._by_user: dict[str, Session] = {}

    @override
    def __getitem__(self, user_id: str) -> Session:
        return self._by_user[user_id]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._by_user)

    @override
    def __len__(self) -> int:
        return len(self._by_user)

    def newest_first(self) -> Iterator[Session]:
        """The sessions, in the order of their beginnings from the last one back."""
        return reversed(list(self._by_user.values()))

    def start(
        self, user_id: str, at: Moment, generation: int | None = None, conversation_id: str | None = None
    ) -> Session:
        """Begins a session for a user who has none."""
        conversation = Conversation(conversation_id or self._new_id(at.wall_ms), at.wall_ms)
        return self._put(Session(user_id, conversation, at, generation=generation))

    def adopt(
        self,
        user_id: str,
        conversation: Conversation,
        last_activity_ms: int,
        now_s: float,
        generation: int | None = None,
    ) -> Session:
        """Takes over a dialog that a crash left open, of a user who has no session yet."""
        last_activity = Moment(last_activity_ms, now_s)
        session = Session(user_id, conversation, last_activity, generation=generation, adopted=True)
        return self._put(session)

    def take_over(self, session: Session, now: Moment) -> Session:
        """Goes on with another node's session, of a user who has none here."""
        since_s = max(0, now.wall_ms - session.last_activity.wall_ms) / 1000
        at = Moment(session.last_activity.wall_ms, now.monotonic_s - since_s)
        return self._put(replace(session, last_activity=at))

    def connect(self, user_id: str, generation: int, at: Moment) -> Arrival:
        """A connection of that generation is open: it starts, goes on with, or takes over a session."""
        session = self._by_user.get(user_id)
        if session is None:
            return Arrival(self.start(user_id, at, generation), started=True)
        if session.is_over(generation):
            # A new generation begins only after the old one's departure, which has not reached this yet.
            self._by_user.pop(user_id)
            return Arrival(self.start(user_id, at, generation), started=True, ended=session)
        if session.generation is not None and session.generation > generation:
            return Arrival(session)  # a hook that comes late says nothing about now
        continued = session.generation is None or session.left
        bound = replace(session, generation=generation, adopted=False, left=False)
        return Arrival(self._put(bound), continued=continued)

    def go_on_with(
        self, user_id: str, conversation: Conversation, at: Moment, generation: int | None
    ) -> tuple[Session, Session | None]:
        """The user has called for an older conversation; the user's session is its from now on.

        Args:
            user_id: Whose.
            conversation: Which one.
            at: When the call came.
            generation: What governs the session if there is none yet.

        Returns:
            The session, and the one whose place it took, if there was one.
        """
        replaced = self._by_user.get(user_id)
        session = replaced or Session(user_id, conversation, at, generation=generation)
        called = replace(
            session, conversation=conversation, last_activity=at, last_message_ms=at.wall_ms, adopted=False
        )
        return self._put(called), replaced

    def leave(self, user_id: str, generation: int) -> None:
        """The last connection of that generation is gone; the grace decides."""
        session = self._by_user.get(user_id)
        if session is not None and session.generation == generation:
            self._put(replace(session, left=True))

    def call(self, user_id: str, at: Moment) -> tuple[Session, bool] | None:
        """A call has come that belongs to the conversation.

        Returns:
            The session, and whether the call went on with an adopted one; None when the user has none.
        """
        session = self._by_user.get(user_id)
        if session is None:
            return None
        called = replace(session, last_activity=at, last_message_ms=at.wall_ms, adopted=False)
        return self._put(called), session.adopted

    def see(self, user_id: str, at: Moment) -> Session | None:
        """The user has looked at something: activity, and nothing more. None when there is no session."""
        session = self._by_user.get(user_id)
        return None if session is None else self._put(replace(session, last_activity=at))

    def depart(self, user_id: str, generation: int, last_seen_ms: int) -> Session | None:
        """The grace of that generation has passed.

        Returns:
            The session that this ended. None when the session is not that generation's; or there was a
            call in the grace: then it goes on, and the fallback governs it.
        """
        session = self._by_user.get(user_id)
        if session is None:
            return None
        # Which generation a crash left it to may not be known, but nobody has come back to it since.
        if session.generation != generation and not (session.adopted and session.generation is None):
            return None
        if session.last_message_ms > last_seen_ms:
            self._put(replace(session, generation=None, left=False))
            return None
        return self._by_user.pop(user_id)

    def idle(self, now_s: float, timeout_s: float) -> list[Session]:
        """The sessions without activity for that long. Adopted ones have a limit of their own."""
        return [
            session
            for session in self._by_user.values()
            if not session.adopted and now_s - session.last_activity.monotonic_s >= timeout_s
        ]

    def expire(self, idle: Session, presence: PresenceState, *, connected_too: bool) -> Session | None:
        """The fallback: ends a session that `idle` has told, if nothing has happened to it since.

        Args:
            idle: As `idle` told it.
            presence: The user's, now. Someone who is leaving is left to the grace.
            connected_too: Whether a connected user's session is ended.
        """
        allowed = {PresenceState.ABSENT, PresenceState.ONLINE} if connected_too else {PresenceState.ABSENT}
        session = self._by_user.get(idle.user_id)
        if (
            session is None
            or session.conversation != idle.conversation
            or session.last_activity != idle.last_activity
            or presence not in allowed
        ):
            return None
        return self._by_user.pop(idle.user_id)

    def adopted(self) -> list[Session]:
        """The adopted sessions that nobody has gone on with."""
        return [session for session in self._by_user.values() if session.adopted]

    def drop(self, user_id: str) -> None:
        """Forgets the user's session, which is another node's."""
        self._by_user.pop(user_id, None)

    def end(self, session: Session) -> Session | None:
        """Ends a session, named by its conversation; None when the user's session is another by now."""
        current = self._by_user.get(session.user_id)
        if current is None or current.conversation != session.conversation:
            return None
        return self._by_user.pop(session.user_id)

    def _put(self, session: Session) -> Session:
        self._by_user[session.user_id] = session
        return session
