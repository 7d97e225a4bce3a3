"""The registry of the nodes: this node's lease, who else lives, who is dead."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from potoserver.engine.base import NodeInfo
from potoserver.engine.valkey.keys import CALL_S, LEASE_S, PARTITIONS, TOMBSTONE_S, Keys
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.local import Local
from potoserver.engine.valkey.scripts import decode, script

_CALL_MS: Final = round(CALL_S * 1000)
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where there is such a clock, one that goes on while the machine is suspended (clock_gettime(2))."""


class Registry:
    """This node among the others, as of its last renewal.

    Attributes:
        node_id: This node's name; another one after each `join`.
        draining: It is on its way out.
        lost: Nodes that are dead and have not been reaped.
    """

    def __init__(self, link: Link, keys: Keys, local: Local, held_s: int) -> None:
        self._link = link
        self._keys = keys
        self._local = local
        self._held_s = held_s
        self.node_id = ""
        self.draining = False
        self.lost: Sequence[str] = ()
        self._nodes: list[NodeInfo] = []
        self._renewals = 0
        self._engine_ms = 0
        self._renewed_at_s = 0.0
        self._leased_at_s = 0.0

    @property
    def nodes(self) -> Sequence[NodeInfo]:
        """All that live, by id."""
        return tuple(self._nodes)

    @property
    def unrenewed_s(self) -> float:
        """For how long the lease has not been renewed, seen from when its last renewal was sent."""
        return time.clock_gettime(_CLOCK) - self._leased_at_s

    @property
    def successors(self) -> list[str]:
        """The other nodes that are not draining."""
        return [each.id for each in self._nodes if not each.draining and each.id != self.node_id]

    @property
    def workers(self) -> list[str]:
        """The nodes that share out what is to be done: those that are not draining, or else all."""
        return [each.id for each in self._nodes if not each.draining] or [each.id for each in self._nodes]

    def now_ms(self) -> int:
        """About what the engine's time is."""
        return self._engine_ms + int((time.monotonic() - self._renewed_at_s) * 1000)

    def given_up_ms(self) -> int:
        """When nobody waits any more for a call that is sent now, by the engine's time."""
        return self.now_ms() + _CALL_MS

    async def join(self) -> None:
        """Joins under a new name."""
        node_id = f"n-{secrets.token_hex(8)}"
        await self._renew(node_id, 0, joins=True)
        self.node_id = node_id

    async def renew(self) -> str:
        """Renews the lease, and reads who is there.

        Returns:
            `ok`; `dead` when this node was declared dead; `lost` when the engine has lost what it knew, at
            least from this node's last renewal on; `unknown` when it does not know this node at all for that.
        """
        return await self._renew(self.node_id, self._renewals, joins=False)

    async def _renew(self, node_id: str, known_before: int, *, joins: bool) -> str:
        call = script("renew").of_registry(
            self._keys,
            node_id,
            joins=joins,
            draining=self.draining,
            connections=self._local.connections,
            renewals=known_before + 1,
            lease_ms=round(LEASE_S * 1000),
            held_s=self._held_s,
            channel=self._keys.channel(node_id),
            tombstone_s=TOMBSTONE_S,
        )
        sent_at_s = time.clock_gettime(_CLOCK)
        answer = await self._link.run(call, probe=True)
        self._engine_ms, self._renewed_at_s = answer[1], time.monotonic()
        if answer[0] != b"ok":
            return decode(answer[0])
        self._leased_at_s = sent_at_s
        self._renewals = known_before + 1
        self._nodes = _parsed(answer[2])
        self.lost = [decode(each) for each in answer[3]]
        return "lost" if answer[4] < known_before else "ok"

    async def leave(self) -> None:
        """Takes this node from the registry."""
        await self._link.run(script("leave").of_registry(self._keys, self.node_id))

    def share(self) -> Sequence[int]:
        """The partitions of which this node looks after the deadlines."""
        return share_of(self.node_id, tuple(self.workers))


@lru_cache(maxsize=16)
def share_of(node_id: str, workers: tuple[str, ...]) -> Sequence[int]:
    """The partitions that fall to a node: each to the one for which a hash of both is the greatest."""

    def rank(worker: str, partition: int) -> bytes:
        return blake2b(f"{partition} {worker}".encode(), digest_size=8).digest()

    return [
        each for each in range(PARTITIONS) if node_id == max(workers, key=lambda worker: rank(worker, each))
    ]


def _parsed(fields: Any) -> list[NodeInfo]:
    nodes = []
    for name, about in zip(fields[::2], fields[1::2], strict=True):
        draining, connections, _ = about.split(b" ")
        nodes.append(NodeInfo(decode(name), draining == b"1", int(connections)))
    return sorted(nodes, key=lambda each: each.id)
