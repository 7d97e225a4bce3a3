"""A process that stood still for seconds goes on: its machine was too busy, or was paused."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog

from potoserver import UnavailableError
from potoserver.engine.valkey.keys import CALL_S, OVERDUE_S, SILENCE_S
from tests.nodes.test_chat import LIMIT_S, Start, say, start
from tests.nodes.test_home_lost import die, say_until_answered

__all__ = ["start"]


@pytest.fixture(autouse=True)
def patient_calls() -> None:
    """A call has its own bounds here: they are what is tried."""


async def test_the_first_call_after_a_stall_is_answered(start: Start) -> None:
    """Nothing was wrong but that it stood still: it finds out how things are, and refuses nobody."""
    pair = await start(grace_ms=60_000)
    one, _ = pair.servers
    conversation = (await say(one, "before"))["conversationId"]
    with structlog.testing.capture_logs() as lines:
        time.sleep(SILENCE_S + 0.5)
        assert (await say(one, "after"))["conversationId"] == conversation
        for _ in range(10):  # what fell due in the stall is done by then
            assert one.core.engine.trouble is None
            await asyncio.sleep(0.02)
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == []


async def test_a_stall_while_valkey_answers_fails_that_call_alone(start: Start) -> None:
    """Its answer came in time and was read too late. Valkey is there: nobody else is refused."""
    engine = (await start(grace_ms=60_000)).servers[0].core.engine
    with structlog.testing.capture_logs() as lines:
        asking = asyncio.create_task(engine._link.commands([("BLPOP", "nothing", "1.9")]))
        while not (await engine._link.commands([("INFO", "clients")]))[0]["blocked_clients"]:
            await asyncio.sleep(0.01)
        time.sleep(CALL_S * 2)
        with pytest.raises(UnavailableError):
            await asking
        assert await engine.home_of("a1") is None
    assert "engine away" not in {line["event"] for line in lines}
    assert engine._life._to_make_up or engine._life._catching_up is not None


@pytest.mark.parametrize("fails", [False, True])
async def test_many_calls_after_a_stall_renew_the_lease_once(start: Start, fails: bool) -> None:
    """Each would ask else, one after the other, and where Valkey is away wait for all before it."""
    engine = (await start(grace_ms=60_000)).servers[0].core.engine
    renew, renewals = engine._registry.renew, 0

    async def counted() -> str:
        nonlocal renewals
        renewals += 1
        if fails:
            raise UnavailableError("away")
        return await renew()

    engine._registry.renew = counted
    engine._life._tasks[0].cancel()  # it renews by itself no more
    await asyncio.gather(*(engine.ensure_lease() for _ in range(100)))
    assert renewals == 0
    time.sleep(OVERDUE_S + 0.1)
    outcomes = await asyncio.gather(*(engine.ensure_lease() for _ in range(100)), return_exceptions=True)
    assert renewals == 1
    assert [isinstance(each, UnavailableError) for each in outcomes] == [fails] * 100


async def test_nothing_renews_the_lease_of_a_node_that_leaves(start: Start) -> None:
    """It would join anew, and be taken for one that lives until its lease lapses."""
    engine = (await start(grace_ms=60_000)).servers[0].core.engine
    await engine.stop()
    asked = []
    engine._registry.renew = lambda: asked.append("renew")
    with pytest.raises(UnavailableError):
        await engine.find_nodes()
    assert asked == []


async def test_a_node_whose_users_moved_in_a_stall_learns_it_before_it_answers(start: Start) -> None:
    """What it has in mind of a conversation is old by then."""
    pair = await start(grace_ms=60_000)
    late, other = pair.servers
    await say(late, "first")
    assert pair.at_home() == 0
    die(late)  # it does nothing by itself any more, and knows of nothing
    await say_until_answered(other, "second")
    assert "a1" in pair.chats[0].user_sessions
    async with asyncio.timeout(LIMIT_S):
        while (answer := await late.call("ChatServerModule/getConversation"))[0] == 503:  # it joins anew
            await asyncio.sleep(0.05)
    said = [each["content"] for each in answer[1]["messages"] if each["role"] == "user"]
    assert (answer[0], said) == (200, ["first", "second"])
