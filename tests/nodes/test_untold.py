"""What was kept and could not be told is told by whoever comes next, or a gap is."""

from __future__ import annotations

import pytest

from potoserver.engine.valkey import departures, life, registry
from tests.nodes.support import kill, tell_no_reply
from tests.nodes.test_chat import Start, make_home, say, start
from tests.support.sse import stream

__all__ = ["start"]


async def test_a_reply_that_a_stopping_node_could_not_tell_is_told_by_the_next_home(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off from the engine, so it knows of no successor; the dialog stays open for one."""
    monkeypatch.setattr(registry, "LEASE_S", 3.0)
    monkeypatch.setattr(life, "LOOK_ALL_S", 1.0)
    monkeypatch.setattr(departures, "ASK_AGAIN_MS", 1000)
    pair = await start(grace_ms=60_000)
    home, other = pair.servers
    await make_home(home)
    async with stream(other.session, f"{other.url}/subscribe") as reader:
        await reader.next("connected")
        tell_no_reply(monkeypatch, home)
        answer = await say(other, "untold")
        await kill(home)
        assert not await home.server.stop()
        told = [await reader.next("message") for _ in range(2)]
        assert told[-1].data["messageId"] == answer["messageId"]
        assert not pair.archived()
