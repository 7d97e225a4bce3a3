"""A subscription goes on, whatever ends its stream; no event is lost or doubled without a word."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jwt
import pytest

from potoserver import Event
from potoserver.client import (
    ForbiddenError,
    NotFoundError,
    NotSignedInError,
    ProtocolError,
    StreamEvent,
    Subscription,
)
from potoserver.client.http import Http
from potoserver.client.inbox import MAX_EVENTS
from potoserver.client.subscription import SubscriptionOptions
from potoserver.client.tokens import Tokens
from potoserver.engine.presence import Cause
from tests.client.conftest import Serving
from tests.client.support import (
    LIMIT_S,
    SOON,
    client_of,
    connected,
    disconnected,
    next_of,
    opening,
    says,
    scripted,
    streams,
)
from tests.support.server import RunningServer


async def publish(running: RunningServer, first: int, last: int) -> None:
    """Tells a1 numbers."""
    for number in range(first, last + 1):
        await running.core.engine.publish("a1", Event("number", number))


def close_all(running: RunningServer, cause: Cause = Cause.KICKED) -> None:
    """Ends every stream, as an operator may."""
    for subscription in running.core.subscriptions.of_user("a1"):
        subscription.stream.close(cause)


# Events


async def test_events_come_typed_and_in_order(serving: Serving) -> None:
    """`connected` first; then each event with its type, data and id."""
    async with serving() as running, client_of(running.url) as client, client.subscribe() as events:
        first = await connected(events)
        assert (first.user, first.resumed, first.gap) == ("a1", False, False)
        assert first.data["conversation"].startswith("sse-")
        await client.module("ChatServerModule").chatWithHistory(message="Hello!")
        said = [await next_of(events, "message") for _ in range(2)]
        assert [(each.data["role"], each.data["content"]) for each in said] == [
            ("user", "Hello!"),
            ("assistant", "Hello!"),
        ]
        assert events.last_event_id == said[-1].id


async def test_a_dropped_stream_goes_on_and_loses_and_doubles_nothing(serving: Serving) -> None:
    """What was sent meanwhile is replayed; the caller is told of the drop and of the return."""
    async with (
        serving() as running,
        client_of(running.url) as client,
        client.subscribe(backoff=SOON) as events,
    ):
        await connected(events)
        await publish(running, 1, 3)
        assert [(await next_of(events, "number")).data for _ in range(3)] == [1, 2, 3]
        close_all(running)
        await publish(running, 4, 5)
        dropped = await disconnected(events)
        assert (dropped.reason, dropped.tries) == ("lost", 1)
        assert not (await connected(events)).gap
        await publish(running, 6, 6)
        assert [(await next_of(events, "number")).data for _ in range(3)] == [4, 5, 6]


async def test_another_program_goes_on_behind_the_last_event_of_the_first(serving: Serving) -> None:
    """By the id that each event carries."""
    async with serving(presence={"grace_ms": 60_000}) as running, client_of(running.url) as client:
        async with client.subscribe() as events:
            await connected(events)
            await publish(running, 1, 3)
            seen = await next_of(events, "number")
        async with client.subscribe(last_event_id=seen.id) as events:
            back = await connected(events)
            assert (back.resumed, back.gap) == (True, False)
            assert [(await next_of(events, "number")).data for _ in range(2)] == [2, 3]


async def test_a_log_that_can_not_be_continued_is_told_as_a_gap(serving: Serving) -> None:
    """The id of another epoch, as after a restart."""
    async with (
        serving() as running,
        client_of(running.url) as client,
        client.subscribe(last_event_id="gone-17") as events,
    ):
        assert (await connected(events)).gap


async def test_a_caller_who_takes_nothing_keeps_its_lease_and_loses_nothing() -> None:
    """More events than the inbox holds: pings are answered all the while, and the rest comes by the log."""
    numbers = [f"id: e-{n}\nevent: number\ndata: {n}\n\n" for n in range(1, MAX_EVENTS + 50)]
    async with scripted() as server, client_of(server.url) as client:

        async def rest(*ends: Any) -> None:
            """What comes behind the event from which the client wants to go on."""
            last = int(server.header("/subscribe", "Last-Event-ID").removeprefix("e-"))
            assert last < len(numbers)
            await streams(opening(f"e-{last}"), *numbers[last:], holds=True)(*ends)

        server.answer(
            "/subscribe", streams(opening(), *numbers, "event: ping\ndata: {}\n\n", holds=True), rest
        )
        server.answer("/subscribe/ack", says(204))
        async with client.subscribe(backoff=SOON) as events:
            assert (await connected(events)).id == "e-0"
            (ack,) = await server.until("/subscribe/ack", 1)
            assert '"connection": "c-1"' in ack
            taken = [(await next_of(events, "number")).data for _ in range(len(numbers))]
            assert taken == list(range(1, MAX_EVENTS + 50))


async def test_a_caller_who_is_too_slow_for_the_log_is_told_of_the_gap(serving: Serving) -> None:
    """The real server's log is shorter than what the inbox could not take: a `connected` says `gap`."""
    async with (
        serving(backlog={"events": 16}) as running,
        client_of(running.url) as client,
        client.subscribe(backoff=SOON) as events,
    ):
        await connected(events)
        await publish(running, 1, MAX_EVENTS + 100)
        async with asyncio.timeout(LIMIT_S):
            while not events.behind:
                await asyncio.sleep(0.01)
        seen: list[int] = []
        gaps = 0
        while not gaps:
            event = await next_of(events, "number", "connected")
            if event.type == "connected":
                gaps += bool(event.data["gap"])
            else:
                seen.append(event.data)
        assert seen == list(range(1, MAX_EVENTS + 1))
        await publish(running, 9999, 9999)
        assert (await next_of(events, "number")).data == 9999


async def test_nothing_of_a_stream_follows_what_was_not_kept() -> None:
    """Also when the caller catches up before the stream is closed: else there would be a hole."""
    events = Subscription(Http("http://localhost:1", Tokens(None)), SubscriptionOptions())
    for number in range(MAX_EVENTS + 1):
        events._tell(StreamEvent("number", number), 0, f"e-{number}")
    for number in range(MAX_EVENTS):
        assert (await events._inbox.get()).data == number
    events._tell(StreamEvent("number", MAX_EVENTS + 1), 0, f"e-{MAX_EVENTS + 1}")
    assert events.last_event_id == f"e-{MAX_EVENTS - 1}"
    await events.close()
    with pytest.raises(StopAsyncIteration):
        await events._inbox.get()


async def test_an_event_larger_than_the_inbox_comes_through() -> None:
    """The limit is for many; a single large event must not be asked for for ever."""
    large = "x" * (9 * 1024 * 1024)
    async with scripted() as server, client_of(server.url) as client:
        answer = streams(opening(), f'id: e-1\nevent: large\ndata: "{large}"\n\n', holds=True)
        server.answer("/subscribe", answer)
        async with client.subscribe() as events:
            assert (await next_of(events, "large")).data == large


# Ends and refusals


async def test_what_the_server_asks_for_is_honoured() -> None:
    """`retryAfterMs` of `unavailable` and `shutdown`, `Retry-After` of a proxy: no try before that."""
    stop = 'event: shutdown\ndata: {"retryAfterMs": 120}\n\n'
    full = 'retry: 20\nevent: unavailable\ndata: {"reason": "too-many-connections", "retryAfterMs": 130}\n\n'
    after = "event: number\nid: e-1\ndata: 1\n\n"
    async with scripted() as server, client_of(server.url) as client:
        server.answer(
            "/subscribe",
            streams(opening(), stop, after),
            streams(full),
            says(503, "{}", Retry_After="1"),
            streams(opening(), cut=True),
        )
        async with client.subscribe(backoff=SOON) as events:
            assert (await next_of(events)).type == "connected"
            assert (await next_of(events)).type == "shutdown"
            assert (await next_of(events)).data == 1
            for reason, at_least_s in (("shutdown", 0.12), ("too-many-connections", 0.13), ("answer", 1.0)):
                ended = await disconnected(events)
                assert ended.reason == reason
                assert at_least_s <= ended.retry_in_s <= at_least_s + 0.2
            await connected(events)
            assert (await disconnected(events)).tries == 1


async def test_it_waits_for_a_server_that_is_not_there(serving: Serving, unused_tcp_port: int) -> None:
    """Every failed try is told and counted; there is no last one."""
    async with (
        client_of(f"http://127.0.0.1:{unused_tcp_port}") as client,
        client.subscribe(backoff=SOON) as events,
    ):
        tries = [await disconnected(events) for _ in range(3)]
        assert [(each.reason, each.tries) for each in tries] == [
            ("unreachable", 1),
            ("unreachable", 2),
            ("unreachable", 3),
        ]
        assert "can't be reached" in tries[0].detail


async def test_a_silent_stream_is_given_up(serving: Serving) -> None:
    """Not even heartbeats: what is behind the connection is gone, whatever the network says."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/subscribe", streams(opening("e-5"), holds=True))
        async with client.subscribe(backoff=SOON, silence_s=0.1) as events:
            await connected(events)
            tries = len(server.requests["/subscribe"])
            assert "nothing came" in (await disconnected(events)).detail
            assert "Last-Event-ID: e-5" in (await server.until("/subscribe", tries + 1))[tries]


async def test_a_connection_that_the_server_has_given_up_is_left(serving: Serving) -> None:
    """An ack is answered 404: a proxy keeps a stream open that has no server behind it."""
    async with scripted() as server, client_of(server.url) as client:
        ping = "event: ping\ndata: {}\n\n"
        server.answer("/subscribe", streams(opening(), ping, holds=True))
        server.answer("/subscribe/ack", says(404, "{}"), says(204))
        async with client.subscribe(backoff=SOON) as events:
            await connected(events)
            await disconnected(events)
            await connected(events)


@pytest.mark.parametrize(
    ("status", "error"), [(401, NotSignedInError), (403, ForbiddenError), (404, NotFoundError)]
)
async def test_a_refusal_for_good_is_raised(status: int, error: type[Exception]) -> None:
    """To whoever takes the events; the tries end."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/subscribe", says(status, "{}"))
        with pytest.raises(error):
            await next_of(client.subscribe(backoff=SOON))
        assert len(server.requests["/subscribe"]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        says(200, "<html>", "text/html"),
        says(302, Location="http://elsewhere.example/"),
        streams("event: connected\ndata: {}\n\n"),
        streams("event: x\ndata: {\n\n"),
    ],
)
async def test_what_is_no_potoserver_is_told_as_that(answer: Any) -> None:
    """A login page of a hotel, a redirect (the token does not follow it), another event stream."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/subscribe", answer)
        with pytest.raises(ProtocolError):
            await next_of(client.subscribe(backoff=SOON))


async def test_closing_ends_the_connection_and_the_iteration(serving: Serving) -> None:
    """The server learns it at once; an iteration that waits elsewhere ends in order."""
    async with serving() as running, client_of(running.url) as client:
        events = client.subscribe()
        await connected(events)
        waiting = asyncio.create_task(anext(events, None))
        await events.close()
        async with asyncio.timeout(LIMIT_S):
            assert await waiting is None
            while running.core.subscriptions.count_of("a1"):
                await asyncio.sleep(0.01)
        assert [event async for event in events] == []


async def test_the_clients_end_closes_every_subscription(serving: Serving) -> None:
    """Also one that was only looked into."""
    async with serving() as running:
        async with client_of(running.url) as client:
            await connected(client.subscribe())
            await connected(client.subscribe())
        async with asyncio.timeout(LIMIT_S):
            while running.core.subscriptions.count_of("a1"):
                await asyncio.sleep(0.01)


# Who is asking


async def test_a_token_that_expires_is_renewed_and_nothing_is_lost(serving: Serving) -> None:
    """The stream ends as `expired`, the provider gives a new token, the log goes on."""
    secret = "0123456789abcdef0123456789abcdef"
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return jwt.encode({"sub": "a1", "exp": time.time() + (5 if asked == 1 else 3600)}, secret, "HS256")

    auth = {"jwt_secret": secret}
    async with (
        serving(auth=auth) as running,
        client_of(running.url, token) as client,
        client.subscribe(backoff=SOON) as events,
    ):
        await connected(events)
        await publish(running, 1, 1)
        assert (await next_of(events, "number", "disconnected")).data == 1
        assert (await disconnected(events)).reason == "lost"
        await publish(running, 2, 2)
        assert not (await connected(events)).gap
        assert (await next_of(events, "number")).data == 2
        assert asked == 2


async def test_a_fixed_token_that_expires_is_an_error(serving: Serving) -> None:
    """There is no other; the caller has to know."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/subscribe", streams(opening()), says(401, '{"detail": "The token is not valid."}'))
        async with client.subscribe(backoff=SOON) as events:
            await connected(events)
            with pytest.raises(NotSignedInError, match="not valid"):
                while True:
                    await next_of(events)


async def test_a_stream_by_ticket_resumes_by_it_and_gets_a_new_one_after_a_restart(serving: Serving) -> None:
    """As a browser's EventSource does; the embedded engine forgets tickets when it restarts."""
    async with (
        serving() as running,
        client_of(running.url) as client,
        client.subscribe(by_ticket=True, backoff=SOON) as events,
    ):
        await connected(events)
        close_all(running)
        await publish(running, 1, 1)
        assert (await next_of(events, "number")).data == 1
    answer = '{"ticket": "t-%s", "expiresInS": 30}'
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/subscribe/ticket", says(200, answer % 1, "application/json"), says(200, answer % 2))
        server.answer("/subscribe", streams(opening("e-3")), says(401, "{}"), streams(opening("e-3")))
        async with client.subscribe(by_ticket=True, backoff=SOON) as events:
            await connected(events)
            await connected(events)
        first, second, third = (await server.until("/subscribe", 3))[:3]
        assert "ticket=t-1" in first
        assert "Authorization" not in first
        assert "ticket=t-1" in second
        assert "Last-Event-ID: e-3" in second
        assert "ticket=t-2" in third
        assert "Last-Event-ID: e-3" in third
