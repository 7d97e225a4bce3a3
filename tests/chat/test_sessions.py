"""The state machine of sessions, apart from everything else."""

from __future__ import annotations

import re

import pytest

from modules.chat_server.journal import Conversation
from modules.chat_server.sessions import ConversationIds, Moment, Session, Sessions
from potoserver import PresenceState


def at(seconds: float) -> Moment:
    return Moment(1_000_000 + round(seconds * 1000), seconds)


def test_a_conversation_id_has_the_contracts_form() -> None:
    """`sse-<ms>-<9 of a-z0-9>`."""
    assert re.fullmatch(r"sse-1704110400000-[a-z0-9]{9}", ConversationIds()(1_704_110_400_000))
    new_id = ConversationIds()
    ids = {new_id(1) for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len({each[place] for each in ids}) == 36 for place in range(-9, 0))


def test_a_connection_starts_a_session_and_further_ones_share_it() -> None:
    """A user has at most one session."""
    sessions = Sessions()
    first = sessions.connect("a", 1, at(0))
    second = sessions.connect("a", 1, at(1))
    assert first.started and not second.started and not second.continued
    assert first.session.conversation == second.session.conversation
    assert len(sessions) == 1


def test_a_departure_ends_the_session_of_its_generation_once() -> None:
    """The second time there is nothing left to end."""
    sessions = Sessions()
    sessions.connect("a", 1, at(0))
    ended = sessions.depart("a", 1, at(5).wall_ms)
    assert ended is not None
    assert sessions.depart("a", 1, at(5).wall_ms) is None
    assert not sessions


@pytest.mark.parametrize("generation", [1, 3])
def test_a_departure_of_another_generation_touches_nothing(generation: int) -> None:
    """A late departure never hits a newer session."""
    sessions = Sessions()
    session = sessions.connect("a", 2, at(0)).session
    assert sessions.depart("a", generation, at(5).wall_ms) is None
    assert sessions["a"] == session


def test_a_call_in_the_grace_keeps_the_session_and_a_new_connection_binds_it() -> None:
    """After it the fallback governs, until somebody is connected again."""
    sessions = Sessions()
    session = sessions.connect("a", 1, at(0)).session
    sessions.leave("a", 1)
    sessions.call("a", at(6))
    assert sessions.depart("a", 1, at(5).wall_ms) is None
    assert (sessions["a"].generation, sessions["a"].left) == (None, False)
    arrival = sessions.connect("a", 2, at(20))
    assert arrival.continued and arrival.session.conversation == session.conversation
    assert sessions.depart("a", 2, at(30).wall_ms) is not None


def test_a_call_before_the_drop_does_not_keep_the_session() -> None:
    """Only activity after the user was last seen does."""
    sessions = Sessions()
    sessions.connect("a", 1, at(0))
    sessions.call("a", at(5))
    assert sessions.depart("a", 1, at(5).wall_ms) is not None


def test_a_session_begun_by_a_call_is_nobodys_generation_until_a_connection_binds_it() -> None:
    """A departure of generation 1 can't end it, one of the binding generation does."""
    sessions = Sessions()
    session = sessions.start("a", at(0))
    assert session.generation is None
    assert sessions.depart("a", 1, at(9).wall_ms) is None
    assert sessions.connect("a", 2, at(10)).continued
    assert sessions.depart("a", 2, at(20).wall_ms) is not None


def test_a_newer_generation_ends_the_session_whose_departure_is_still_to_come() -> None:
    """A new generation begins only after a departure: the old session is over, whenever that is told."""
    sessions = Sessions()
    old = sessions.connect("a", 1, at(0)).session
    arrival = sessions.connect("a", 2, at(30))
    assert arrival.ended == old and arrival.started
    assert arrival.session.conversation != old.conversation
    assert sessions.depart("a", 1, at(5).wall_ms) is None
    assert sessions["a"] == arrival.session
    assert sessions.depart("a", 2, at(40).wall_ms) == arrival.session


def test_a_late_connect_of_an_older_generation_changes_nothing() -> None:
    """It says nothing about now."""
    sessions = Sessions()
    session = sessions.connect("a", 2, at(0)).session
    assert sessions.connect("a", 1, at(1)).session == session
    assert sessions["a"] == session


def test_a_return_in_the_grace_continues() -> None:
    """Told apart from a second tab, which is no return."""
    sessions = Sessions()
    sessions.connect("a", 1, at(0))
    sessions.leave("a", 1)
    assert sessions.connect("a", 1, at(2)).continued
    assert not sessions.connect("a", 1, at(3)).continued


@pytest.mark.parametrize(
    ("presence", "connected_too", "ends"),
    [
        (PresenceState.ABSENT, False, True),
        (PresenceState.ABSENT, True, True),
        (PresenceState.ONLINE, False, False),
        (PresenceState.ONLINE, True, True),
        (PresenceState.LEAVING, False, False),
        (PresenceState.LEAVING, True, False),
    ],
)
def test_the_fallback_ends_by_presence(presence: PresenceState, connected_too: bool, ends: bool) -> None:
    """`absent` only the absent, `idle` also the connected; never one who is leaving."""
    sessions = Sessions()
    sessions.start("a", at(0))
    (idle,) = sessions.idle(300, 300)
    assert (sessions.expire(idle, presence, connected_too=connected_too) is not None) is ends


def test_the_fallback_leaves_who_has_called_meanwhile() -> None:
    """Between looking and ending, a call may come; or the session may be another by then."""
    sessions = Sessions()
    session = sessions.start("a", at(0))
    assert sessions.idle(299.9, 300) == []
    (idle,) = sessions.idle(300, 300)
    sessions.call("a", at(300))
    assert sessions.expire(idle, PresenceState.ABSENT, connected_too=False) is None
    sessions.end(session)
    sessions.start("a", at(300))
    assert sessions.expire(idle, PresenceState.ABSENT, connected_too=False) is None


def test_a_step_of_wall_time_ends_nothing() -> None:
    """Idleness is measured on the monotonic clock."""
    sessions = Sessions()
    sessions.start("a", Moment(0, 10))
    sessions.call("a", Moment(-9_000_000, 12))
    assert sessions.idle(20, 300) == []


@pytest.mark.parametrize("way", ["call", "connect"])
def test_who_comes_back_goes_on_with_the_adopted_dialog(way: str) -> None:
    """Then it is adopted no more."""
    sessions = Sessions()
    left_open = Conversation("sse-1-abc", 1)
    sessions.adopt("a", left_open, 5, 0)
    assert sessions.idle(1e9, 1) == [], "an adopted one has a limit of its own"
    assert [each.user_id for each in sessions.adopted()] == ["a"]
    if way == "call":
        called = sessions.call("a", at(1))
        assert called is not None and called[1]
    else:
        assert sessions.connect("a", 1, at(1)).continued
    assert sessions.adopted() == []
    assert sessions["a"].conversation == left_open


def test_an_older_conversation_takes_the_place_of_the_users_own() -> None:
    """What governs the session stays, and the call that asked for it counts as one of the conversation."""
    sessions = Sessions()
    current = sessions.connect("a", 1, at(0)).session
    older = Conversation("sse-1-abc", 1)
    session, replaced = sessions.go_on_with("a", older, at(7), None)
    assert replaced == current
    assert session == Session("a", older, at(7), at(7).wall_ms, generation=1) == sessions["a"]


def test_an_older_conversation_begins_the_session_of_who_has_none() -> None:
    """Or goes on with what a crash has left open, which is then adopted no more."""
    sessions = Sessions()
    older = Conversation("sse-1-abc", 1)
    session, replaced = sessions.go_on_with("a", older, at(7), 3)
    assert (session, replaced) == (Session("a", older, at(7), at(7).wall_ms, generation=3), None)
    sessions.adopt("b", Conversation("sse-1-def", 1), 5, 0)
    assert not sessions.go_on_with("b", older, at(7), None)[0].adopted


def test_ending_names_the_conversation() -> None:
    """A session that has become another is not hit."""
    sessions = Sessions()
    old = sessions.start("a", at(0))
    assert sessions.end(old) == old
    new = sessions.start("a", at(1))
    assert sessions.end(old) is None
    assert sessions["a"] == new
