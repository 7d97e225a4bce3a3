"""The contract's sentences on sessions that no other test is about."""

from __future__ import annotations

from pathlib import Path

from modules.chat_server import ChatServerModule
from modules.chat_server.settings import ChatSettings
from tests.support.clock import ManualClock
from tests.support.server import RunServer
from tests.support.sse import stream


async def test_calls_are_activity_and_heartbeats_and_acks_are_not(
    tmp_path: Path, running_server: RunServer
) -> None:
    """Under scope `idle` a connected user who calls stays; one who only acknowledges pings is ended."""
    clock = ManualClock()
    settings = ChatSettings(session_timeout_ms=100_000, session_timeout_scope="idle")
    async with (
        running_server(tmp_path, [ChatServerModule()], clock=clock, sections={"chat": settings}) as running,
        stream(running.session, f"{running.url}/subscribe", lease="90") as reader,
    ):
        connected = (await reader.next("connected")).data
        assert (await running.call("ChatServerModule/chatWithHistory", {"message": "Hello"}))[0] == 200

        async def acknowledge_for(rounds: int) -> None:
            for _ in range(rounds):
                await clock.advance(31)
                await reader.next("ping")
                status, _ = await running.call("subscribe/ack", {"connection": connected["connection"]})
                assert status == 204

        await acknowledge_for(3)
        assert (await running.call("ChatServerModule/getSessionInfo"))[1]["conversationId"]
        assert (await running.call("ChatServerModule/chatWithHistory", {"message": "Still here"}))[0] == 200
        await acknowledge_for(3)
        _, info = await running.call("ChatServerModule/getSessionInfo")
        assert info["conversationId"] == connected["conversation"]
        await acknowledge_for(2)
        seen = [event for event in reader.seen if event.type == "archived"]  # it may have come before a ping
        archived = (seen[0] if seen else await reader.next("archived")).data
        assert (archived["conversation"], archived["reason"]) == (connected["conversation"], "timeout")
