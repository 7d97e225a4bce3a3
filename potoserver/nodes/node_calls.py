"""Calls from this node to others, and from others to this one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.base import NodeInfo
from potoserver.errors import ProblemError, UnavailableError
from potoserver.nodes.exchange import CutOffError, Exchange, Part
from potoserver.nodes.message import PART_BYTES, Kind, Message, MessageError
from potoserver.tasks import OwnedTasks

Serve = Callable[[str, Part, AsyncIterator[bytes]], AsyncGenerator[Part, None]]
"""Answers a call: of which node, what it asks (its data the beginning of the body), the rest of the body."""


class Post(Protocol):
    """Carries messages between nodes: at most once, and in order from one node to another."""

    @property
    def node_id(self) -> str:
        """This node's name."""

    def nodes(self) -> Sequence[NodeInfo]:
        """The nodes that live, as of a while ago."""

    async def find_nodes(self) -> Sequence[NodeInfo]:
        """The nodes that live now. Raises UnavailableError while that can't be known."""

    async def send(self, node_id: str, payload: bytes) -> None:
        """Sends to a node. Raises UnavailableError while that can't be done."""


_NAME = "call"
_HERE = "are you there"
_HERE_S = 1.0
_LOOK_S = 1.0
_WANT_AN_ANSWER = (Kind.PART, Kind.END, Kind.PROBLEM, Kind.ASK)


class NodeCalls:
    """Passes calls on to other nodes, and answers theirs.

    A call is a request of any length, and an answer that comes in parts while it is made; who reads it slowly
    slows its making. When a node is gone in the middle the other one is told within seconds, by
    `CutOffError`.

    Args:
        post: Carries the messages: the engine.
        clock: Measures silence.
        tasks: Owns the answering of calls.
        logger: Where strange messages are reported.

    What answers the calls of other nodes is offered by name (`offer`). What that raises is the caller's
    problem; it is closed when nobody takes its answer any more.
    """

    def __init__(
        self,
        post: Post,
        clock: Clock,
        tasks: OwnedTasks,
        logger: FilteringBoundLogger,
    ) -> None:
        self._post = post
        self._clock = clock
        self._tasks = tasks
        self._logger = logger
        self._offered: dict[str, Serve] = {_HERE: _here}
        self._numbers = itertools.count(1)
        self._exchanges: dict[str, tuple[str, Exchange]] = {}
        """All that are under way, by id: the other node, and this side of it."""
        self._watching = False

    def __len__(self) -> int:
        """How many calls are under way, either way."""
        return len(self._exchanges)

    def offer(self, name: str, serve: Serve) -> None:
        """Has this answer the calls of that name that other nodes make. Before any comes."""
        self._offered[name] = serve

    async def call(self, node_id: str, name: str, request: Part) -> AsyncGenerator[Part, None]:
        """Has another node answer a request; yields the parts of its answer.

        Args:
            node_id: Which node.
            name: What is called, as it is offered there.
            request: What it asks; `data` of any length.

        Raises:
            ProblemError: What the other node answers instead, or in the middle.
            CutOffError: The other node is gone; how far it came is not known.
            UnavailableError: The engine is away.
        """
        exchange = self._begin(node_id, f"{self._post.node_id}.{next(self._numbers)}")
        sending: asyncio.Task[None] | None = None
        try:
            fields = {**request.fields, _NAME: name}
            is_whole = len(request.data) <= PART_BYTES
            await exchange.put(Part(fields, request.data[:PART_BYTES], last=is_whole), Kind.CALL)
            if not is_whole:
                sending = asyncio.create_task(_send_rest(exchange, request.data), name=f"send {exchange.id}")
            while (part := await exchange.take()) is not None:
                yield part
        finally:
            if sending is not None:
                sending.cancel()
            await self._end(node_id, exchange)

    async def reaches(self, node_id: str) -> bool:
        """Whether a node answers, within a second; one that died may seem to live for longer.

        Raises:
            UnavailableError: The engine is away.
        """
        try:
            async with self._clock.timeout(_HERE_S), aclosing(self.call(node_id, _HERE, Part())) as answer:
                await anext(answer)
        except (CutOffError, TimeoutError):
            return False
        return True

    def on_message(self, node_id: str, raw: bytes) -> None:
        """Another node has sent this one a message."""
        try:
            message = Message.decode(raw)
        except MessageError as error:
            self._logger.warning("message not understood", node=node_id, error=str(error))
            return
        other, exchange = self._exchanges.get(message.exchange, (node_id, None))
        if other != node_id:
            return
        if exchange is None and message.kind in (Kind.CALL, Kind.WHOLE):
            exchange = self._begin(node_id, message.exchange)
            task = self._tasks.spawn(self._answer(node_id, exchange), f"answer {exchange.id}")
            exchange.on_cut = task.cancel
        if exchange is not None:
            exchange.receive(message)
            if message.kind is Kind.ASK:
                self._tasks.spawn(self._say(exchange.say_here()), f"say here in {exchange.id}")
        elif message.kind in _WANT_AN_ANSWER:
            gone = Message(message.exchange, 0, Kind.GONE)
            self._tasks.spawn(self._say(self._post.send(node_id, gone.encode())), f"say gone to {node_id}")

    def _look(self) -> None:
        """Sees whether a call is from or to a node that may be gone."""
        self._watching = False
        living = {node.id for node in self._post.nodes()}
        unknown = [(node_id, each) for node_id, each in self._exchanges.values() if node_id not in living]
        if unknown:
            self._tasks.spawn(self._cut_dead(unknown), "cut calls of the dead")
        if self._exchanges:
            self._watch()

    async def _cut_dead(self, calls: Sequence[tuple[str, Exchange]]) -> None:
        """Cuts those calls whose node lives no more: who waits for them is told.

        A node that has joined within the last second is not known here yet, but calls already.
        """
        with suppress(UnavailableError):  # they are looked at again
            living = {node.id for node in await self._post.find_nodes()}
            for node_id, exchange in calls:
                if node_id not in living:
                    exchange.cut()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._clock.call_later(_LOOK_S, self._look)

    def _begin(self, node_id: str, exchange_id: str) -> Exchange:
        async def send(message: Message) -> None:
            await self._post.send(node_id, message.encode())

        exchange = Exchange(exchange_id, send, self._clock)
        self._exchanges[exchange_id] = (node_id, exchange)
        self._watch()
        return exchange

    async def _end(self, node_id: str, exchange: Exchange) -> None:
        """Forgets an exchange, and tells the other side where it has not said all."""
        del self._exchanges[exchange.id]
        if not exchange.ended:
            await self._say(self._post.send(node_id, Message(exchange.id, 0, Kind.GONE).encode()))

    async def _answer(self, node_id: str, exchange: Exchange) -> None:
        try:
            try:
                request = await exchange.take()
                if request is None:
                    return
                serve = self._offered.get(request.fields[_NAME], _not_offered)
                async with aclosing(serve(node_id, request, _rest_of(exchange))) as parts:
                    async for part in parts:
                        await exchange.put(part)
            except ProblemError as problem:
                await exchange.end(problem)
            except Exception:
                self._logger.exception("call failed", node=node_id, exchange=exchange.id)
                await exchange.end(ProblemError(500, "The server failed."))
            else:
                await exchange.end()
        except UnavailableError as error:  # the caller asks, and learns that nobody is here any more
            self._logger.warning("answer cut off", node=node_id, exchange=exchange.id, error=str(error))
        finally:
            del self._exchanges[exchange.id]

    async def _say(self, saying: Awaitable[None]) -> None:
        with suppress(UnavailableError):  # who waits for it asks again
            await saying


async def _here(_node: str, _request: Part, _rest: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    yield Part(last=True)


async def _not_offered(_node: str, _request: Part, _rest: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    raise ProblemError(501, "The node that was asked does not know how to answer this.")
    yield  # what makes a generator of it


async def _send_rest(exchange: Exchange, data: bytes) -> None:
    """Sends what did not fit into the first part; who waits for the answer is told when that fails."""
    with suppress(ProblemError):
        for begin in range(PART_BYTES, len(data), PART_BYTES):
            await exchange.put(Part(data=data[begin : begin + PART_BYTES]))
        await exchange.end()


async def _rest_of(exchange: Exchange) -> AsyncIterator[bytes]:
    while (part := await exchange.take()) is not None:
        yield part.data
