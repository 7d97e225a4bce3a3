"""Acks for connections: taken here, or passed on to the node that holds the connection."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from potoserver.core import Core
from potoserver.errors import UnavailableError
from potoserver.nodes.exchange import Part

_NAME: Final = "ack"
_REMEMBERED: Final = 50_000
"""Of so many connections that other nodes hold, which one does is kept."""
_ANSWER_S: Final = 3.0


class AckPlaces:
    """Takes an ack where its connection is: a load balancer sends it to any node.

    For a connection of this node the engine is not asked. For another node's an ack costs the engine two
    commands, the message there and the answer; the first one that this node gets of a connection one more,
    which finds the node. So it stays two for a client whose acks always come to the wrong node.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._nodes: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Which node has taken the last ack for a user's connection; the longest unused go first."""
        core.node_calls.offer(_NAME, self._serve)

    async def take(self, user_id: str, connection_id: str) -> bool:
        """Takes an ack for a user's connection; whether there is such a connection, on any node.

        Raises:
            UnavailableError: The engine is away, or the node that holds the connection does not answer.
        """
        if self._take_here(user_id, connection_id):
            return True
        key = (user_id, connection_id)
        engine = self._core.engine
        before = self._nodes.pop(key, None)
        asked = before if before in [each.id for each in engine.nodes()] else None
        if asked is not None and await self._pass_on(asked, key):
            return True
        node_id = await engine.node_of(user_id, connection_id)
        if node_id is None or node_id in (engine.node_id, asked):
            return False  # the last two: its end is under way
        return await self._pass_on(node_id, key)

    def _take_here(self, user_id: str, connection_id: str) -> bool:
        if not self._core.subscriptions.has(user_id, connection_id):
            return False
        self._core.heartbeat.acknowledge(connection_id)
        return True

    async def _pass_on(self, node_id: str, key: tuple[str, str]) -> bool:
        request = Part({"user": key[0], "connection": key[1]})
        call = self._core.node_calls.call(node_id, _NAME, request)
        try:
            async with self._core.clock.timeout(_ANSWER_S), aclosing(call) as answer:
                taken: bool = (await anext(answer)).fields["taken"]
        except TimeoutError:
            raise UnavailableError(
                "The node that holds the connection does not answer; try again in a moment."
            ) from None
        if taken:
            self._nodes[key] = node_id
            if len(self._nodes) > _REMEMBERED:
                self._nodes.popitem(last=False)
        return taken

    async def _serve(
        self, _node: str, request: Part, _rest: AsyncIterator[bytes]
    ) -> AsyncGenerator[Part, None]:
        taken = self._take_here(request.fields["user"], request.fields["connection"])
        yield Part({"taken": taken}, last=True)
