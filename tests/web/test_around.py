"""What happens around every request: ids, CORS, rate limits, health, metrics, draining."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from potoserver import Departure, ProblemError, ServerModule
from potoserver.metrics import Metrics
from potoserver.web.problems import problem_document
from potoserver.web.rate_limit import RateLimiter
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer, log_lines
from tests.web.sample import Sample

AUTH = {"Authorization": "Bearer test-token"}
PAGE = "https://page.example"


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    settings: dict[str, Any] = {"cors": {"origins": [PAGE]}, "limits": {"calls_per_minute": 60}}
    async with running_server(tmp_path, [Sample()], clock=clock, **settings) as running:
        yield running


# Request ids and headers


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 128])
async def test_a_sane_request_id_is_taken(running: RunningServer, given: str) -> None:
    """And comes back in the header and in problem documents."""
    async with running.session.get(f"{running.url}/nothing", headers={"X-Request-ID": given}) as answer:
        assert answer.headers["X-Request-ID"] == given
        assert (await answer.json(content_type=None))["requestId"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "ä", "<script>"])
async def test_any_other_request_id_is_replaced(running: RunningServer, given: str) -> None:
    """By a random one."""
    async with running.session.get(f"{running.url}/nothing", headers={"X-Request-ID": given}) as answer:
        made = answer.headers["X-Request-ID"]
        assert made != given
        assert len(made) == 32


@pytest.mark.parametrize("path", ["health", "nothing", "openapi.json"])
async def test_every_answer_carries_the_security_headers(running: RunningServer, path: str) -> None:
    """Errors too; the server's make is not told."""
    async with running.session.get(f"{running.url}/{path}") as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "potoserver"


async def raw(running: RunningServer, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body that these bytes are answered with."""
    port = int(running.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return status, headers, await reader.readexactly(int(headers.get("Content-Length", "0")))
    finally:
        writer.close()


@pytest.mark.parametrize(
    "start",
    ["GET /health", "POST /Sample/mixed", "GET /nothing", "DELETE /health", "GET /not%0Athere"],
)
async def test_an_expectation_that_can_not_be_met_is_a_problem(running: RunningServer, start: str) -> None:
    """417 with a request id, as a problem document, wherever it is asked for."""
    request = f"{start} HTTP/1.1\r\nHost: localhost\r\nExpect: 999\r\n\r\n".encode()
    status, headers, body = await raw(running, request)
    assert status == "HTTP/1.1 417 Expectation Failed"
    assert headers["Content-Type"].startswith("application/problem+json")
    assert headers["Server"] == "potoserver"
    document = json.loads(body)
    assert document["requestId"] == headers["X-Request-ID"]
    assert len(document["requestId"]) == 32
    assert (document["title"], document["status"]) == ("Expectation Failed", 417)


async def test_every_answer_to_an_expectation_has_an_id(running: RunningServer) -> None:
    """Also the one that aiohttp gives by itself."""
    request = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nExpect: 999\r\n\r\n"
    status, headers, _ = await raw(running, request)
    assert status == "HTTP/1.1 417 Expectation Failed"
    assert len(headers["X-Request-ID"]) == 32


async def test_a_client_that_waits_for_it_is_told_to_go_on(running: RunningServer) -> None:
    """`Expect: 100-continue` is answered before the body is there."""
    port = int(running.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /Sample/mixed HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND"])
async def test_any_address_where_there_is_nothing_is_a_404(running: RunningServer, method: str) -> None:
    """Whatever the method, with the standard title."""
    async with running.session.request(method, f"{running.url}/a/b/c") as answer:
        document = await answer.json(content_type=None)
        assert (answer.status, document["title"]) == (404, "Not Found")


@pytest.mark.parametrize(
    ("status", "title"), [(413, "Content Too Large"), (422, "Unprocessable Content"), (418, "Error")]
)
def test_titles_are_those_of_the_standard(status: int, title: str) -> None:
    """RFC 9110's, where Python's own differ by its version."""
    assert problem_document(ProblemError(status, "x"), "r")["title"] == title


# CORS


async def test_cors_is_off_by_default(tmp_path: Path, running_server: RunServer) -> None:
    """No page of another origin may read anything."""
    async with running_server(tmp_path, [Sample()]) as running:
        headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        async with running.session.options(f"{running.url}/Sample/echo", headers=headers) as answer:
            assert answer.status == 405
            assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_an_allowed_origin_may_ask_and_read(running: RunningServer) -> None:
    """Preflight, answers, errors and the stream."""
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with running.session.options(f"{running.url}/Sample/echo", headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    for path in ("nothing", "health", "subscribe"):
        async with running.session.get(f"{running.url}/{path}", headers=AUTH | {"Origin": PAGE}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://other.example", "http://page.example", "null", f"{PAGE}:444"])
async def test_any_other_origin_may_not(running: RunningServer, origin: str) -> None:
    """Origins are compared exactly."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with running.session.options(f"{running.url}/Sample/echo", headers=headers) as answer:
        assert answer.status == 405
    async with running.session.get(f"{running.url}/health", headers={"Origin": origin}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


# Rate limit


async def test_a_user_s_calls_are_limited_by_the_minute(running: RunningServer, clock: ManualClock) -> None:
    """A burst of the whole amount, then 429 with Retry-After; other users are not touched."""
    for _ in range(60):
        assert (await running.call("Sample/mixed"))[0] == 200
    async with running.session.post(f"{running.url}/Sample/mixed", headers=AUTH) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
        assert answer.content_type == "application/problem+json"
    async with running.session.post(f"{running.url}/subscribe/ticket", headers=AUTH) as answer:
        assert answer.status == 429
    assert (await running.call("Sample/mixed", token="admin-token"))[0] == 200
    assert running.sample("potoserver_rate_limited_total") == 2
    await clock.advance(1)
    assert (await running.call("Sample/mixed"))[0] == 200
    assert (await running.call("Sample/mixed"))[0] == 429


async def test_a_rate_of_nothing_is_off(clock: ManualClock) -> None:
    """0 limits nothing and remembers nobody."""
    limiter = RateLimiter(0, clock, Metrics())
    for _ in range(1000):
        limiter.take("a")
    assert len(limiter) == 0


async def test_the_limiter_forgets_who_is_silent(clock: ManualClock) -> None:
    """Its memory is bounded by who asked in the last minute, also where nobody asks any more."""
    limiter = RateLimiter(2, clock, Metrics())
    for number in range(500):
        limiter.take(str(number))
    limiter.take("0")
    assert len(limiter) == 500
    with pytest.raises(ProblemError) as refused:
        limiter.take("0")
    assert refused.value.retry_after_s == 30
    await clock.advance(66)
    assert len(limiter) == 0


# Health and metrics


async def test_health_tells_how_the_server_is(running: RunningServer, clock: ManualClock) -> None:
    """Without a token; modules add their fields."""
    await clock.advance(5)
    async with running.session.get(f"{running.url}/health") as answer:
        document = await answer.json()
        assert answer.status == 200
    assert document.pop("version")
    assert document.pop("node") == running.core.engine.node_id
    assert document == {
        "status": "healthy",
        "alarms": [],
        "activeSessions": 3,
        "uptime": 5.0,
        "usersOnline": 0,
        "connections": 0,
        "failingHooks": 0,
        "parkedHooks": 0,
    }


async def test_health_counts_departures_that_are_not_taken(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> None:
    """`failingHooks` while they are repeated, `parkedHooks` once they are given up."""

    class Refusing(ServerModule):
        async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
            raise RuntimeError

    async def counts() -> tuple[int, int]:
        async with running.session.get(f"{running.url}/health") as answer:
            document = await answer.json()
            return document["failingHooks"], document["parkedHooks"]

    hooks = {"retry_for_s": 1}
    presence = {"grace_ms": 0}
    async with running_server(tmp_path, [Refusing()], clock=clock, hooks=hooks, presence=presence) as running:
        async with running.session.get(f"{running.url}/subscribe", headers=AUTH) as stream:
            await stream.content.readline()
        async with asyncio.timeout(10):
            while await counts() != (1, 0):
                await clock.advance(0)
            while await counts() != (0, 1):
                await clock.advance(1)


async def test_a_module_can_not_take_health_down(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> None:
    """One that hangs is left out after a second, one that fails at once."""

    class Hanging(ServerModule):
        async def health_fields(self) -> Mapping[str, Any]:
            await asyncio.Event().wait()
            return {}

    class Failing(ServerModule):
        async def health_fields(self) -> Mapping[str, Any]:
            raise RuntimeError

    async with running_server(tmp_path, [Hanging(), Failing()], clock=clock) as running:
        asking = asyncio.ensure_future(running.session.get(f"{running.url}/health"))
        async with asyncio.timeout(10):
            while not asking.done():
                await asyncio.sleep(0.01)
                await clock.advance(0.3)
        answer = await asking
        assert answer.status == 200
        assert (await answer.json())["activeSessions"] == 0


async def test_draining_is_told_and_calls_are_refused(running: RunningServer) -> None:
    """503 with Retry-After for calls; health, readiness and metrics go on answering."""
    async with running.session.get(f"{running.url}/health/ready") as answer:
        assert answer.status == 200
    running.core.draining = True
    async with running.session.post(f"{running.url}/Sample/mixed", headers=AUTH) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    for path, status, state in (
        ("health", 503, "draining"),
        ("health/ready", 503, "draining"),
        ("health/live", 200, "live"),
    ):
        async with running.session.get(f"{running.url}/{path}") as answer:
            assert (answer.status, (await answer.json())["status"]) == (status, state)
    async with running.session.get(f"{running.url}/metrics") as answer:
        assert answer.status == 200
    running.core.draining = False


async def test_until_it_is_ready_calls_are_refused(running: RunningServer) -> None:
    """And `/health/ready` says that it is starting."""
    running.core.started = False
    assert (await running.call("Sample/mixed"))[0] == 503
    async with running.session.get(f"{running.url}/health/ready") as answer:
        assert (answer.status, await answer.json()) == (503, {"status": "starting"})


async def test_metrics_label_requests_by_closed_sets(running: RunningServer) -> None:
    """What a caller makes up never becomes a label."""
    await running.call("Sample/mixed")
    await running.call("Made/up")
    await running.session.get(f"{running.url}/made-up")
    await running.session.request("PROPFIND", f"{running.url}/health")
    async with running.session.get(f"{running.url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {each.name: each for each in text_string_to_metric_families(await answer.text())}
    labels = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"])
        for sample in families["potoserver_request_seconds"].samples
    }
    assert labels == {
        ("/Sample/mixed", "POST", "200"),
        ("/{module}/{method}", "POST", "404"),
        ("unknown", "GET", "404"),
        ("/health", "other", "405"),
    }


async def test_each_request_is_a_log_line_at_debug(tmp_path: Path, running_server: RunServer) -> None:
    """By `http`: method, path without query, status, time, user and request id."""
    async with running_server(tmp_path, [Sample()], log={"debug": "http"}) as running:
        await running.session.post(
            f"{running.url}/Sample/mixed?secret=1", headers=AUTH | {"X-Request-ID": "mine"}
        )
    (line,) = [line for line in log_lines(tmp_path) if line["event"] == "request"]
    assert line.pop("ms") >= 0
    assert {key: line[key] for key in ("logger", "level", "request", "method", "path", "status", "user")} == {
        "logger": "http",
        "level": "debug",
        "request": "mine",
        "method": "POST",
        "path": "/Sample/mixed",
        "status": 200,
        "user": "a1",
    }
    assert "secret" not in json.dumps(line)
