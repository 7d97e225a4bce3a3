"""What a node has in Valkey is taken from it: when it is dead, by a survivor; when it leaves, by itself."""

from __future__ import annotations

from potoserver.engine.presence import Cause
from potoserver.engine.valkey.keys import CHUNK, PARTITIONS, REAP_LOCK_S, TOMBSTONE_S, Keys
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.scripts import decode, script


class Burial:
    """Takes from a node its connections, homes and claims. Idempotent, and may break off anywhere.

    Args:
        link: The way to Valkey.
        keys: The names there.
        grace_ms: From a user's last connection to the departure.
        held_s: How long what is left is held.
    """

    def __init__(self, link: Link, keys: Keys, grace_ms: int, held_s: int) -> None:
        self._link = link
        self._keys = keys
        self._grace_ms = grace_ms
        self._held_s = held_s

    async def of_dead(self, node_id: str, by_node_id: str) -> None:
        """Reaps a dead node, unless another one is at it."""
        lock = self._keys.of_registry("reaper", node_id)
        got = ("SET", lock, by_node_id, "NX", "PX", str(round(REAP_LOCK_S * 1000)))
        if not (await self._link.commands([got]))[0]:
            return
        await self.of(node_id, Cause.NODE_LOST, orphan=True, lock=lock)
        await self._link.run(script("leave").of_registry(self._keys, node_id))
        await self._link.commands([("DEL", lock)])

    async def of(self, node_id: str, cause: Cause, *, orphan: bool, lock: str | None = None) -> None:
        """Takes everything from a node.

        Args:
            node_id: Which.
            cause: Why its connections end.
            orphan: Somebody shall take over its homes.
            lock: A key whose end is put off while this goes on.
        """
        undone = set(range(PARTITIONS))
        while undone:
            if lock is not None:
                await self._link.commands([("PEXPIRE", lock, str(round(REAP_LOCK_S * 1000)))])
            order = sorted(undone)
            found = await self._link.run_all(
                [
                    script("bury").of_partition(
                        self._keys, each, node_id, most=CHUNK, tombstone_s=TOMBSTONE_S
                    )
                    for each in order
                ]
            )
            undone = {each for each, users in zip(order, found, strict=True) if users}
            users = [decode(user) for in_partition in found for user in in_partition]
            for start in range(0, len(users), CHUNK):
                await self._link.run_all(
                    [
                        script("reap").of_user(
                            self._keys,
                            user,
                            node_id,
                            cause=cause,
                            grace_ms=self._grace_ms,
                            orphan=orphan,
                            held_s=self._held_s,
                        )
                        for user in users[start : start + CHUNK]
                    ]
                )
