"""`GET /subscribe` and `POST /subscribe/ack`: the life of an event stream."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from potoserver.core import Core
from potoserver.engine.base import TooManyConnectionsError
from potoserver.engine.presence import Attachment, Cause
from potoserver.errors import FieldError, ProblemError, UnavailableError
from potoserver.events import Frame, to_json
from potoserver.ids import BASE64_12, Ids
from potoserver.module.base import Connection
from potoserver.subscriptions import Subscription
from potoserver.web.ack_places import AckPlaces
from potoserver.web.auth import Authenticator
from potoserver.web.body import read_body, validate_body
from potoserver.web.credentials import Identity
from potoserver.web.quiet import QuietConnections
from potoserver.web.rate_limit import RateLimiter
from potoserver.web.stream import SubscriptionResponse, TransportStream
from potoserver.web.tickets import RedeemedTicket, Tickets, last_event_id_of
from potoserver.web.unavailable import unavailable

_LEASE_S = range(10, 301)
_MAX_ACK_BYTES = 4096
_DETACHED_AT_ONCE = 8
"""Of streams that end together so many are seen to between two turns of others."""
_TOO_MANY = "too-many-connections-of-user"
_TOO_OFTEN = "too-many-requests"


class Acknowledgement(BaseModel):
    """The body of `POST /subscribe/ack`."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    connection: str
    last_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Opening:
    """What a request asked for."""

    identity: Identity
    ticket: RedeemedTicket | None
    lease_s: int | None
    last_event_id: str | None


class SubscribeHandler:
    """Opens event streams, and sees each one to its end.

    Args:
        core: The parts of the server.
        authenticator: Tells who asks.
        tickets: Told when a ticket has opened a stream.
    """

    def __init__(self, core: Core, authenticator: Authenticator, tickets: Tickets) -> None:
        self._core = core
        self._authenticator = authenticator
        self._tickets = tickets
        # Apart from each other and from calls: who calls a lot keeps the stream and its lease.
        per_minute = core.settings.limits.calls_per_minute
        self._openings = RateLimiter(per_minute, core.clock, core.metrics)
        self._acks = RateLimiter(per_minute, core.clock, core.metrics)
        self._ids = Ids(BASE64_12, "c-")
        self._ack_places = AckPlaces(core)
        self._quiet = QuietConnections()
        self._logger = core.logs.get("sse")
        self._ended_streams: deque[tuple[Connection, Cause]] = deque()
        self._detaching = False
        self._on_ended = self._ended  # one for all streams: each look at a method makes another object

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        """Answers 200 and a stream, also where it has to say `unavailable`.

        A browser's EventSource gives up for good on any other status (HTML standard, section 9.2.3), so
        what passes by itself is said in the stream.
        """
        core = self._core
        lease_s = _lease_of(request)
        try:
            identity, ticket = await self._authenticator.identify_subscriber(request)
        except UnavailableError:
            identity, ticket = None, None  # whose ticket it is can't be told while the engine is away
        response = SubscriptionResponse()
        await response.prepare(request)
        stream = TransportStream.take_over(
            request,
            outbox_bytes=core.settings.limits.outbox_bytes,
            send_timeout_s=core.settings.send_timeout_s,
            clock=core.clock,
            quiet=self._quiet,
        )
        if stream is None:
            return response
        if identity is None:
            self._refuse(stream, "engine-away")
        else:
            # A task of the server's: aiohttp may cancel the handler of a connection that it has let go of.
            opening = _Opening(identity, ticket, lease_s, last_event_id_of(request))
            core.tasks.spawn(self._open(stream, opening), f"open stream of {identity.user.id}")
        return response

    async def _open(self, stream: TransportStream, opening: _Opening) -> None:
        core = self._core
        user_id = opening.identity.user.id
        reason = self._reason_to_refuse(user_id)
        if reason is not None:
            await self._refuse_for_now(stream, opening, reason)
            return
        connection = Connection(self._ids.next(), user_id, generation=0)
        outbox_bytes = core.settings.limits.outbox_bytes
        subscription = Subscription(
            connection, stream, outbox_bytes, core.clock.now_ms(), opening.identity.expires_ms
        )
        # Registered before anybody is told: an event published from here on is held for the client.
        core.subscriptions.add(subscription)
        try:
            most = core.settings.limits.connections_per_user
            attachment = await core.engine.attach(user_id, connection.id, most)
        except (UnavailableError, TooManyConnectionsError) as error:
            core.subscriptions.remove(connection)
            reason = _TOO_MANY if isinstance(error, TooManyConnectionsError) else "engine-away"
            await self._refuse_for_now(stream, opening, reason)
            return
        except BaseException:
            core.subscriptions.remove(connection)
            await self._refuse_for_now(stream, opening, "failed")
            raise
        self._watch_end(subscription, attachment, opening)
        try:
            await self._send_opening(subscription, attachment, opening)
        except UnavailableError:
            await self._refuse_for_now(stream, opening, "engine-away")
        except BaseException:
            # Better a client that comes back than one that waits on a stream that nobody opened.
            await self._refuse_for_now(stream, opening, "failed")
            raise

    def _reason_to_refuse(self, user_id: str) -> str | None:
        core = self._core
        if core.draining:
            return "draining"
        if core.connection_limit and len(core.subscriptions) >= core.connection_limit:
            core.alarms.set("connections-full", lapses=True, limit=core.connection_limit)
            return "too-many-connections"
        per_user = core.settings.limits.connections_per_user
        if per_user and core.subscriptions.count_of(user_id) >= per_user:
            return _TOO_MANY  # without asking the engine, which counts those on other nodes too
        try:
            self._openings.take(user_id)
        except ProblemError:
            return _TOO_OFTEN
        return None

    async def _refuse_for_now(self, stream: TransportStream, opening: _Opening, reason: str) -> None:
        self._refuse(stream, reason, opening.identity.user.id)
        if opening.ticket is not None:
            await self._tickets.release(opening.ticket)

    def _refuse(self, stream: TransportStream, reason: str, user_id: str | None = None) -> None:
        """Says that it passes by itself, and ends the stream."""
        frame = unavailable(reason, self._core.settings.retry_ms)
        stream.write(frame)
        self._core.subscriptions.log_event("unavailable", frame, None, 1)
        stream.close(Cause.KICKED)
        self._core.metrics.connections_refused.labels(reason).inc()
        # A user who comes that often would fill the log, too.
        log = self._logger.debug if reason == _TOO_OFTEN else self._logger.info
        log("SSE refused", user=user_id, reason=reason)

    def _watch_end(self, subscription: Subscription, attachment: Attachment, opening: _Opening) -> None:
        """From here on the end of the stream, however it comes, is followed by its detaching."""
        core = self._core
        connection = subscription.connection = Connection(
            subscription.connection.id, subscription.connection.user_id, attachment.generation
        )
        core.heartbeat.add(subscription, opening.lease_s)
        core.expiries.add(subscription)
        self._logger.info(
            "SSE subscribed",
            user=connection.user_id,
            connection=connection.id,
            generation=attachment.generation,
            resumed=not attachment.arrived,
            lease_s=opening.lease_s,
        )
        if attachment.arrived:
            core.hooks.arrived(connection.user_id)
        core.hooks.connection_opened(connection)
        subscription.listen(self._on_ended)

    def _ended(self, subscription: Subscription, cause: Cause) -> None:
        core = self._core
        # As it is by now: its generation may be another one.
        connection = subscription.connection
        core.heartbeat.remove(connection.id)
        core.expiries.remove(subscription)
        core.subscriptions.remove(connection)
        self._ended_streams.append((connection, cause))
        if not self._detaching:
            self._detaching = True
            core.tasks.spawn(self._detach_ended(), "detach")

    async def _detach_ended(self) -> None:
        """Has a task see to each stream that has ended; to the last one it sees itself."""
        ended = self._ended_streams
        while len(ended) > 1:
            for _ in range(min(_DETACHED_AT_ONCE, len(ended) - 1)):
                connection, cause = ended.popleft()
                self._core.tasks.spawn(self._detach(connection, cause), f"detach {connection.id}")
            await asyncio.sleep(0)
        self._detaching = False
        await self._detach(*ended.popleft())

    async def _detach(self, connection: Connection, cause: Cause) -> None:
        core = self._core
        try:
            left = await core.engine.detach(connection.user_id, connection.id, cause)
        except UnavailableError:
            left = None  # the engine notices by itself, once the connection's lease there lapses
        core.metrics.connections_ended.labels(cause).inc()
        if cause is Cause.SLOW:
            core.alarms.set("slow-readers", lapses=True, user=connection.user_id)
        self._logger.info(
            "SSE disconnect detected",
            user=connection.user_id,
            connection=connection.id,
            cause=str(cause),
            connections_left=left,
            grace_ms=core.settings.presence.grace_ms if left == 0 else None,
        )
        await core.hooks.connection_closed(connection, cause)

    async def _send_opening(
        self, subscription: Subscription, attachment: Attachment, opening: _Opening
    ) -> None:
        """Sends `connected`, then what the client missed."""
        core = self._core
        connection = subscription.connection
        # Before the fields: what modules publish meanwhile to who has just come is held, and comes behind it.
        replay = await core.engine.replay(connection.user_id, opening.last_event_id)
        fields = await core.hooks.connected_fields(connection.user_id)
        if opening.ticket is not None:
            await self._tickets.opened(opening.ticket, replay.resume_id)
        data = {
            "user": connection.user_id,
            "connection": connection.id,
            "resumed": not attachment.arrived,
            "gap": replay.gap,
        }
        # Read top-down: the core's fields come first, and no module can replace them.
        connected = to_json(data | fields | data)
        frame = Frame.encode("connected", connected, replay.resume_id, core.settings.retry_ms)
        subscription.open(frame, replay)
        core.subscriptions.log_event("connected", frame, replay.resume_id, 1)
        if replay.entries:
            core.metrics.events_replayed.inc(len(replay.entries))
        if replay.gap:
            core.metrics.gaps.inc()
        if core.settings.log.debug_sse:
            self._logger.info(
                "SSE replay",
                user=connection.user_id,
                connection=connection.id,
                after=opening.last_event_id,
                gap=replay.gap,
                events=len(replay.entries),
                bytes=sum(entry.frame.size for entry in replay.entries),
            )

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Takes a client's proof of life for one of its own connections, on whichever node that is.

        Answers 204 once that node has it, and 404 where there is no such connection.
        """
        identity = await self._authenticator.identify(request)
        self._acks.take(identity.user.id)
        ack = validate_body(Acknowledgement, await read_body(request, _MAX_ACK_BYTES))
        if not await self._ack_places.take(identity.user.id, ack.connection):
            raise ProblemError(404, "You have no such connection open; subscribe again.")
        return web.Response(status=204)


def _lease_of(request: web.Request) -> int | None:
    text = request.query.get("lease")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) in _LEASE_S):
        expected = f"a whole number of seconds, {_LEASE_S[0]} to {_LEASE_S[-1]}"
        raise ProblemError(422, "The lease can't be granted.", errors=[FieldError("lease", expected)])
    return int(text)
