"""One event stream that goes on: reconnects, resumes, keeps its lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import hdrs

from potoserver.client.backoff import Backoff
from potoserver.client.errors import (
    AnswerError,
    NotFoundError,
    NotSignedInError,
    ProtocolError,
    UnreachableError,
)
from potoserver.client.event_stream import EventStreamParser, RawEvent
from potoserver.client.events import CONNECTED, DISCONNECTED, Connected, Disconnected, StreamEvent
from potoserver.client.http import EVENT_STREAM, SILENCE_S, Http, chunks_of, json_of, json_value
from potoserver.client.inbox import Inbox

_PASSES_BY_ITSELF = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which a stream may be had later. A potoserver says so in the stream; a proxy can't."""
_MOST_WAIT_S = 300.0
_ACK_TIMEOUT_S = 20.0
_SHUTDOWN = "shutdown"
_UNAVAILABLE = "unavailable"
_PING = "ping"


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """How a stream is asked for.

    Attributes:
        lease_s: The client's promise to answer pings, in seconds (10 to 300); None for no lease.
        by_ticket: Whether the stream is opened as a browser's `EventSource` does, by a ticket in its URL.
        last_event_id: Go on behind this event; None begins with what happens now.
        silence_s: A stream on which nothing comes for so many seconds is given up.
        backoff: The waits between tries; its base is replaced by what the server says.
    """

    lease_s: int | None = 90
    by_ticket: bool = False
    last_event_id: str | None = None
    silence_s: float = SILENCE_S
    backoff: Backoff = field(default=Backoff())


@dataclass(frozen=True, slots=True)
class _Ended:
    """Why a stream ended or could not be had, and how long the server wants to be left alone."""

    reason: str
    detail: str
    at_least_s: float = 0.0


class Subscription:
    """A user's events, for as long as the caller wants them: `async for event in subscription`.

    It is read in the background, however slowly the caller takes the events, and pings are answered there.
    Whatever ends the stream but a refusal for good is followed by another try, without end; the caller gets
    `Disconnected`, and `Connected` when it goes on. No logged event comes twice, and none is missing unless a
    `Connected` says `gap`. What is not logged (broadcasts) is lost while the stream is not open, and when the
    caller is so slow that the inbox is full.

    Args:
        http: The server.
        options: How the stream is asked for.

    Raises:
        AnswerError: The server refuses for good (a token that is not valid, a Host that is not served).
        ProtocolError: What answers is no potoserver.
    """

    def __init__(self, http: Http, options: SubscriptionOptions) -> None:
        self._http = http
        self._options = options
        self._inbox = Inbox(self._resume_anew)
        self._last_event_id = options.last_event_id or ""
        self._ticket: str | None = None
        self._connection: str | None = None
        self._retry_s: float | None = None
        self._tries = 0
        self._reading: asyncio.Task[None] | None = None
        self._acking: asyncio.Task[None] | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._ending = _Ended("lost", "")
        self._missed = False
        """Whether an event of this stream was not kept: then none behind it is, either."""
        self._resyncing = False
        """Whether this stream was ended by ourselves, to have it from where the caller is."""
        self._closed = False

    @property
    def last_event_id(self) -> str | None:
        """The id of the latest event that was received; the caller may not have taken it yet."""
        return self._last_event_id or None

    @property
    def behind(self) -> bool:
        """Whether the caller is so slow that events wait on the server, as far as its log reaches."""
        return self._missed

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        self._start()
        return await self._inbox.get()

    async def close(self) -> None:
        """Ends the stream; the server learns it at once. Idempotent."""
        self._closed = True
        tasks = [task for task in (self._reading, self._acking) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._inbox.end()

    def _start(self) -> None:
        if self._reading is None and not self._closed:
            self._reading = asyncio.create_task(self._run(), name="potoserver subscription")

    async def _run(self) -> None:
        try:
            while True:
                ended = await self._one_stream()
                if self._resyncing:
                    continue
                self._tries += 1
                backoff = self._options.backoff
                wait_s = backoff.wait_s(self._tries, base_s=self._retry_s, at_least_s=ended.at_least_s)
                data = {
                    "reason": ended.reason,
                    "detail": ended.detail,
                    "retryInS": round(wait_s, 3),
                    "tries": self._tries,
                }
                self._tell(Disconnected(DISCONNECTED, data), 0)
                await asyncio.sleep(wait_s)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._inbox.end(error)

    async def _one_stream(self) -> _Ended:
        """Opens a stream and reads it to its end."""
        self._missed = self._resyncing = False
        self._ending = _Ended("lost", "the stream ended")
        had_ticket = self._ticket is not None
        try:
            await self._read()
        except UnreachableError as error:
            if self._ending.reason == "lost":
                return _Ended("lost" if error.sent else "unreachable", str(error))
        except NotSignedInError as error:
            if not had_ticket:
                raise
            # Only the ticket is forgotten: the embedded engine's are, when the server restarts.
            self._ticket = None
            return _Ended("ticket", str(error))
        except AnswerError as error:
            if error.status not in _PASSES_BY_ITSELF:
                raise
            at_least_s = min(error.retry_after_s or 0.0, _MOST_WAIT_S)
            return _Ended("answer", str(error), at_least_s)
        finally:
            self._response = None
            self._connection = None
        return self._ending

    async def _read(self) -> None:
        options = self._options
        params = {} if options.lease_s is None else {"lease": str(options.lease_s)}
        headers: dict[str, str] = {hdrs.ACCEPT: EVENT_STREAM, hdrs.CACHE_CONTROL: "no-store"}
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id
        if options.by_ticket:
            if self._ticket is None:
                self._ticket = await self._new_ticket()
            params["ticket"] = self._ticket
        async with self._http.request(
            "GET", "/subscribe", headers=headers, params=params, signed=not options.by_ticket
        ) as response:
            if response.content_type != EVENT_STREAM:
                raise ProtocolError(f"the answer is {response.content_type}, no event stream")
            self._response = response
            parser = EventStreamParser(self._last_event_id)
            async for chunk in chunks_of(response, options.silence_s):
                for raw in parser.feed(chunk):
                    self._take(raw, parser)

    async def _new_ticket(self) -> str:
        async with self._http.request("POST", "/subscribe/ticket", body={}) as response:
            answer = await json_of(response)
        if not (isinstance(answer, dict) and isinstance(answer.get("ticket"), str)):
            raise ProtocolError("the answer holds no ticket")
        return str(answer["ticket"])

    def _take(self, raw: RawEvent, parser: EventStreamParser) -> None:
        if parser.retry_ms is not None:
            self._retry_s = parser.retry_ms / 1000
        data = json_value(raw.data)
        if raw.type == _PING:
            self._acknowledge()
            return
        if raw.type == _UNAVAILABLE:
            reason = str(data.get("reason")) if isinstance(data, dict) else _UNAVAILABLE
            self._ending = _Ended(reason, f"the server takes no stream now: {reason}", _after_s(data))
            return
        event_id = raw.last_id if raw.has_id else None
        event = StreamEvent(raw.type, data, event_id)
        if raw.type == CONNECTED:
            if not (isinstance(data, dict) and isinstance(data.get("connection"), str)):
                raise ProtocolError("the event `connected` names no connection")
            event = Connected(raw.type, data, event_id)
            self._connection = data["connection"]
            self._tries = 0
        elif raw.type == _SHUTDOWN:
            # The stream goes on for a while: replies in flight are finished, dialogs are archived.
            self._ending = _Ended(_SHUTDOWN, "the server stops", _after_s(data))
        self._tell(event, len(raw.data), raw.last_id)

    def _tell(self, event: StreamEvent, size_bytes: int, last_id: str | None = None) -> None:
        """Hands an event to the caller; only then is it one to go on from."""
        if self._missed or not self._inbox.put(event, size_bytes):
            self._missed = True
        elif last_id is not None:
            self._last_event_id = last_id

    def _resume_anew(self) -> None:
        """The caller has taken all that there was: what was not kept is asked for again."""
        if self._missed and self._response is not None:
            self._resyncing = True
            self._response.close()

    # The lease

    def _acknowledge(self) -> None:
        if self._acking is None or self._acking.done():
            self._acking = asyncio.create_task(self._send_ack(), name="potoserver lease")

    async def _send_ack(self) -> None:
        body: dict[str, Any] = {"connection": self._connection, "lastEventId": self._last_event_id or None}
        response = self._response
        try:
            async with self._http.request("POST", "/subscribe/ack", body=body, timeout_s=_ACK_TIMEOUT_S):
                pass
        except NotFoundError:
            # The server has given this connection up, and the network has not said so.
            if response is not None:
                response.close()
        except (AnswerError, UnreachableError):
            pass  # it is asked three times in a lease; and a refusal comes with the stream's own end


def _after_s(data: Any) -> float:
    """What `retryAfterMs` says, in seconds, within reason."""
    after_ms = data.get("retryAfterMs") if isinstance(data, dict) else None
    return min(max(after_ms, 0) / 1000, _MOST_WAIT_S) if isinstance(after_ms, int | float) else 0.0
