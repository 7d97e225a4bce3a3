"""One exchange between two nodes: parts out, parts in, neither side far ahead of the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from potoserver.clock import Clock
from potoserver.errors import FieldError, ProblemError, UnavailableError
from potoserver.nodes.message import Kind, Message

WINDOW_PARTS = 4
"""How many parts may be on their way to the other side, or wait there."""
_ASK_AFTER_S = 2.0
"""After so much silence the other side is asked whether it is there."""
_MOST_UNANSWERED = 2
_PARTS = (Kind.CALL, Kind.WHOLE, Kind.PART, Kind.LAST)
_LAST = {Kind.CALL: Kind.WHOLE, Kind.PART: Kind.LAST}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request or an answer.

    Attributes:
        fields: What it says; any JSON object.
        data: What it carries.
        last: No part comes after it; that saves the other side the wait for the end, and its answer.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    last: bool = False


class CutOffError(UnavailableError):
    """The other node is gone, or messages were lost on the way: how far it came there is not known."""

    def __init__(self) -> None:
        super().__init__("The call was cut off between two nodes of the server; try again in a moment.")


class Exchange:
    """One side of an exchange.

    Messages come and go at most once and in order. Each is numbered, so a loss ends the exchange on the side
    that notices it; and a side that waits asks from time to time whether the other is there. So neither waits
    for ever, whatever was lost.

    Args:
        exchange_id: Names it on both sides.
        send: Sends a message to the other side. Raises UnavailableError while the engine is away.
        clock: Measures silence.
    """

    def __init__(self, exchange_id: str, send: Callable[[Message], Awaitable[None]], clock: Clock) -> None:
        self.id = exchange_id
        self._send_message = send
        self._clock = clock
        self._sent = 0
        self._received = 0
        self._on_way = 0
        self._parts: deque[Part] = deque()
        self._said_all = False
        self._ended = False
        """The other side has said all."""
        self._gone = False
        """It takes nothing any more."""
        self._problem: ProblemError | None = None
        """What it ended with, or what became of it."""
        self._unanswered = 0
        self._changed = asyncio.Event()
        self.on_cut: Callable[[], object] = lambda: None
        """Called when the other side is gone."""

    async def put(self, part: Part, kind: Kind = Kind.PART) -> None:
        """Sends a part, once the other side has room for it.

        Raises:
            ProblemError: The other side takes no more: what it ended with.
            CutOffError: It is gone.
            UnavailableError: The engine is away.
        """
        while self._on_way == WINDOW_PARTS and not self._gone:
            await self._hear()
        if self._gone:
            raise self._problem or CutOffError()
        self._on_way += 1
        self._said_all = part.last
        await self._send(_LAST[kind] if part.last else kind, part.fields, part.data)

    async def take(self) -> Part | None:
        """The next part from the other side, or None when it has said all.

        Raises:
            ProblemError: What the other side ended with.
            CutOffError: It is gone.
            UnavailableError: The engine is away.
        """
        while not self._parts and not self._ended:
            await self._hear()
        if self._parts:
            part = self._parts.popleft()
            if not self._ended:
                await self._send(Kind.TAKEN)
            return part
        if self._problem is not None:
            raise self._problem
        return None

    async def end(self, problem: ProblemError | None = None) -> None:
        """Says that no part follows, unless the last one has said so.

        Raises:
            UnavailableError: The engine is away.
        """
        if self._said_all:
            return
        if problem is None:
            await self._send(Kind.END)
        else:
            await self._send(Kind.PROBLEM, _fields_of(problem))

    @property
    def ended(self) -> bool:
        """Whether no further part comes from the other side: it has said all, or is gone."""
        return self._ended

    async def say_here(self) -> None:
        """Says that this side is there.

        Raises:
            UnavailableError: The engine is away.
        """
        await self._send(Kind.HERE)

    def receive(self, message: Message) -> None:
        """Takes what the other side has sent."""
        if message.kind is Kind.GONE or message.number != self._received:
            self.cut()
            return
        self._received += 1
        self._unanswered = 0
        if message.kind in _PARTS:
            self._ended = message.kind in _LAST.values()
            self._parts.append(Part(message.fields, message.data, last=self._ended))
        elif message.kind is Kind.TAKEN:
            self._on_way -= 1
        elif message.kind is Kind.END:
            self._ended = True
        elif message.kind is Kind.PROBLEM:
            self._ended = self._gone = True
            self._problem = _problem_of(message.fields)
        self._changed.set()

    def cut(self) -> None:
        """The other side is gone, or something that it sent is lost."""
        if self._gone:
            return
        self._gone = True
        if not self._ended:
            self._ended = True
            self._problem = CutOffError()
        self._changed.set()
        self.on_cut()

    async def _hear(self) -> None:
        """Waits until something has come; asks the other side when nothing does."""
        self._changed.clear()
        try:
            async with self._clock.timeout(_ASK_AFTER_S):
                await self._changed.wait()
        except TimeoutError:
            if self._unanswered == _MOST_UNANSWERED:
                self.cut()
                return
            self._unanswered += 1
            await self._send(Kind.ASK)

    async def _send(self, kind: Kind, fields: Mapping[str, Any] | None = None, data: bytes = b"") -> None:
        message = Message(self.id, self._sent, kind, fields or {}, data)
        self._sent += 1
        await self._send_message(message)


def _fields_of(problem: ProblemError) -> dict[str, Any]:
    return {
        "status": problem.status,
        "detail": problem.detail,
        "errors": [[each.field, each.message] for each in problem.errors],
        "retryAfterS": problem.retry_after_s,
        "headers": problem.headers,
    }


def _problem_of(fields: Mapping[str, Any]) -> ProblemError:
    return ProblemError(
        fields["status"],
        fields["detail"],
        errors=[FieldError(*each) for each in fields["errors"]],
        retry_after_s=fields["retryAfterS"],
        headers=fields["headers"],
    )
