"""What one user, or anybody, can have done again and again, and what that costs the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer, log_lines
from tests.support.sse import parse_events
from tests.web.sample import Sample

BEARER = {"Authorization": "Bearer test-token"}


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    limits = {"calls_per_minute": 3}
    async with running_server(tmp_path, [Sample()], clock=clock, limits=limits) as running:
        yield running


async def subscribe(running: RunningServer, token: str = "test-token") -> str:
    """`connected`, or why not; the stream is closed again."""
    headers = {"Authorization": f"Bearer {token}"}
    async with running.session.get(f"{running.url}/subscribe", headers=headers) as answer:
        assert answer.status == 200
        (event,) = parse_events(await answer.content.readuntil(b"\n\n"))
        return event.type if event.type == "connected" else str(event.data["reason"])


async def test_a_user_who_subscribes_too_often_is_told_so_in_the_stream(
    tmp_path: Path, running: RunningServer, clock: ManualClock
) -> None:
    """As often as calls a minute, apart from these; no line of the log for each. Others are served."""
    assert [await subscribe(running) for _ in range(5)] == ["connected"] * 3 + ["too-many-requests"] * 2
    assert await subscribe(running, "admin-token") == "connected"
    assert (await running.call("Sample/remember"))[0] == 200
    await clock.advance(20)
    assert await subscribe(running) == "connected"
    await running.server.stop()
    assert [line for line in log_lines(tmp_path) if line["event"] == "SSE refused"] == []


async def test_tickets_count_as_calls(running: RunningServer) -> None:
    """429 past the rate."""
    statuses = []
    for _ in range(5):
        async with running.session.post(f"{running.url}/subscribe/ticket", headers=BEARER) as answer:
            statuses.append(answer.status)
    assert statuses == [200] * 3 + [429] * 2


async def test_metrics_are_not_made_anew_for_everybody_who_asks(
    running: RunningServer, clock: ManualClock
) -> None:
    """They cost much, and need no token: four times a second at most."""

    async def metrics() -> str:
        async with running.session.get(f"{running.url}/metrics") as answer:
            return await answer.text()

    first = await metrics()
    await running.call("Sample/remember")
    assert await metrics() == first
    await clock.advance(0.25)
    assert 'route="/Sample/remember"' in await metrics()
