"""The contract's sentences on HTTP that no other test is about."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modules.chat_server import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver import Event
from potoserver.client import PotoClient
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer
from tests.support.sse import open_stream, stream

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    async with running_server(
        tmp_path, [ChatServerModule()], clock=clock, sections={"chat": ChatSettings()}
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("grace_ms", "retry_ms"), [(0, 1000), (3, 1000), (100, 25), (2000, 500), (4000, 1000), (60_000, 1000)]
)
async def test_the_reconnection_time_follows_the_grace(
    tmp_path: Path, grace_ms: int, retry_ms: int, running_server: RunServer
) -> None:
    """A quarter of a grace below 4 s, lest every client come back too late; else a second."""
    async with (
        running_server(tmp_path, presence={"grace_ms": grace_ms}) as running,
        stream(running.session, f"{running.url}/subscribe") as reader,
    ):
        assert (await reader.next()).retry_ms == retry_ms


async def test_what_is_not_of_the_log_has_no_id_and_is_not_replayed(
    running: RunningServer, clock: ManualClock
) -> None:
    """Broadcast, `ping`, `shutdown`: a client that returns gets the log's events alone."""
    url = f"{running.url}/subscribe"
    reader = await open_stream(running.session, url, lease="10")
    start = (await reader.next("connected")).id
    await running.core.engine.broadcast(Event("all"))
    await running.core.engine.publish("a1", Event("note", 1))
    await clock.advance(7)
    assert {(await reader.next(type_)).id is None for type_ in ("all", "ping")} == {True}
    await reader.close()
    async with stream(running.session, url, last_event_id=start) as back:
        await back.next("connected")
        await running.core.engine.publish("a1", Event("note", 2))
        assert [(await back.next()).data, (await back.next()).data] == [1, 2]
        await running.server.stop()
        assert (await back.next("shutdown")).id is None


async def test_a_heartbeat_is_a_comment(running: RunningServer, clock: ManualClock) -> None:
    """No client takes it for an event."""
    async with stream(running.session, f"{running.url}/subscribe") as reader:
        await reader.next("connected")
        await clock.advance(16)
        await running.core.engine.publish("a1", Event("note", 1))
        assert (await reader.next()).type == "note"
        assert reader.comments >= 1


async def test_refused_clients_are_spread_over_time(tmp_path: Path, running_server: RunServer) -> None:
    """Each is told another time to return after, none sooner than the usual one."""
    async with running_server(tmp_path, limits={"connections": 1}) as running:
        url = f"{running.url}/subscribe"
        async with stream(running.session, url) as only:
            await only.next("connected")
            told = []
            for _ in range(8):
                async with stream(running.session, url, "admin-token") as refused:
                    told.append((await refused.next("unavailable")).data["retryAfterMs"])
        assert min(told) >= 1000
        assert len(set(told)) > 1


def test_the_docs_tell_how_soon_a_dead_client_is_noticed() -> None:
    """With and without a lease, on each platform, behind a proxy."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    for word in ("TCP_USER_TIMEOUT", "lease", "proxy", "Linux", "platform"):
        assert word in text, word


def test_our_own_clients_ask_for_a_lease_of_90_seconds() -> None:
    """In Python and in a browser."""
    assert inspect.signature(PotoClient.subscribe).parameters["lease_s"].default == 90
    library = (ROOT / "potoserver" / "web" / "static" / "poto-client.js").read_text()
    assert "const LEASE_S = 90;" in library


async def test_a_ticket_opens_streams_alone(running: RunningServer) -> None:
    """No call is made with one."""
    status, given = await running.call("subscribe/ticket")
    assert (status, given["expiresInS"]) == (200, 30)
    for path in ("ChatServerModule/getConversation", "subscribe/ack", "subscribe/ticket"):
        answer = await running.session.post(
            f"{running.url}/{path}", params={"ticket": given["ticket"]}, json={}
        )
        assert answer.status == 401, path
    async with stream(running.session, f"{running.url}/subscribe", None, ticket=given["ticket"]) as reader:
        assert (await reader.next("connected")).data["user"] == "a1"


async def test_probes_metrics_and_description_need_no_token(running: RunningServer) -> None:
    """For load balancers, supervisors and Prometheus."""
    for path, content_type in {
        "/health": "application/json",
        "/health/live": "application/json",
        "/health/ready": "application/json",
        "/metrics": "text/plain",
        "/openapi.json": "application/json",
    }.items():
        answer = await running.session.get(running.url + path)
        assert (answer.status, answer.content_type) == (200, content_type), path
