"""Deadlines: users whose grace has passed become departures, and homes without a node find another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potoserver.engine.presence import Cause, Departure
from potoserver.engine.valkey.keys import ASK_AGAIN_MS, CHUNK, LOOK_MOST, PARTITIONS, Keys, partition_of
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.registry import Registry
from potoserver.engine.valkey.scripts import Call, decode, script


class Departures:
    """Looks for what is due, claims departures for this node, gives them up when they are acknowledged.

    A departure stands in Valkey until it is acknowledged. All of a user's are claimed by one node, so that
    they stay in order; when that is dead, by another one.

    Args:
        link: The way to Valkey.
        keys: The names there.
        registry: This node among the others.
        kept_ms: How long the log of a user who has gone is kept.
        held_s: How long a departure is held.
        on_departure: Gets each departure that this node has claimed, once.
        on_orphan: Is asked to take a user over.
        on_dead: Called when this node turns out to be dead.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        registry: Registry,
        *,
        kept_ms: int,
        held_s: int,
        on_departure: Callable[[Departure], None],
        on_orphan: Callable[[str], None],
        on_dead: Callable[[], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._registry = registry
        self._kept_ms = kept_ms
        self._held_s = held_s
        self._on_departure = on_departure
        self._on_orphan = on_orphan
        self._on_dead = on_dead
        self._told: set[str] = set()
        """Ids of the departures that this node was told of and has not acknowledged."""
        self._done: dict[str, Departure] = {}
        """Those whose acknowledgement Valkey has not taken."""

    async def look(self, partitions: Sequence[int]) -> int:
        """Looks in these partitions. Returns how many users are online in them."""
        node_id = self._registry.node_id
        calls = [
            script("look").of_partition(
                self._keys,
                each,
                node_id,
                works=self._works(),
                most=LOOK_MOST,
                ask_again_ms=ASK_AGAIN_MS,
            )
            for each in partitions
        ]
        found = await self._link.run_all(calls)
        if self._works():  # it may have begun to drain meanwhile; then another one is asked next
            for _, orphans, _ in found:
                for user in orphans:
                    self._on_orphan(decode(user))
        await self.claim([decode(user) for due, _, _ in found for user in due])
        return sum(online for _, _, online in found)

    def _works(self) -> bool:
        return self._registry.node_id in self._registry.workers

    async def claim(self, user_ids: Sequence[str]) -> None:
        """Makes and claims the departures of these users, if there are any and no other node has."""
        for start in range(0, len(user_ids), CHUNK):
            users = user_ids[start : start + CHUNK]
            node_id = self._registry.node_id
            answers = await self._link.run_all(
                [
                    script("depart").of_user(
                        self._keys, user, node_id, kept_ms=self._kept_ms, held_s=self._held_s
                    )
                    for user in users
                ]
            )
            for user, (state, *records) in zip(users, answers, strict=True):
                if state == b"dead":
                    self._on_dead()
                    return
                for record in records:
                    self._tell(_departure(user, record))

    def _tell(self, departure: Departure) -> None:
        if departure.id not in self._told:
            self._told.add(departure.id)
            self._on_departure(departure)

    async def claim_own(self) -> None:
        """Claims again what this node has claimed: the answer to a claim may have been lost."""
        commands = [("HGETALL", self._keys.of_partition(each, "claims")) for each in range(PARTITIONS)]
        mine = self._registry.node_id.encode()
        users = []
        for claims in await self._link.commands(commands):
            users += [decode(user) for user, node in _pairs(claims) if node == mine]
        await self.claim(users)

    async def acknowledge(self, departure: Departure) -> None:
        """Forgets a departure, at the latest when Valkey is back."""
        self._done[departure.id] = departure
        await self._link.run(self._acknowledge(departure))
        self._forget(departure.id)

    async def acknowledge_done(self) -> None:
        """Forgets the departures that could not be forgotten before."""
        done = list(self._done.values())
        for start in range(0, len(done), CHUNK):
            some = done[start : start + CHUNK]
            await self._link.run_all([self._acknowledge(departure) for departure in some])
            for departure in some:
                self._forget(departure.id)

    def _acknowledge(self, departure: Departure) -> Call:
        return script("acknowledge").of_user(
            self._keys, departure.user_id, self._registry.node_id, departure=_record(departure)
        )

    def _forget(self, departure_id: str) -> None:
        self._done.pop(departure_id, None)
        self._told.discard(departure_id)


def _record(departure: Departure) -> str:
    """A departure as it stands in Valkey."""
    times = f"{departure.last_seen_ms} {departure.departed_ms}"
    return f"{departure.generation} {departure.cause} {times}"


def _departure(user_id: str, record: bytes) -> Departure:
    generation, cause, since_ms, departs_ms = record.decode().split(" ")
    return Departure(
        # A generation is given out once in a partition.
        id=f"d-{generation}-{partition_of(user_id):02}",
        user_id=user_id,
        generation=int(generation),
        cause=Cause(cause),
        last_seen_ms=int(since_ms),
        departed_ms=int(departs_ms),
    )


def _pairs(fields: Any) -> list[tuple[bytes, bytes]]:
    if isinstance(fields, dict):  # as the protocol's third version has it
        return list(fields.items())
    return list(zip(fields[::2], fields[1::2], strict=True))
