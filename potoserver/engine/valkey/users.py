"""What is asked about users: each one's presence, who is online, who is in the grace."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from potoserver.engine.presence import Cause, Leaving, Presence, PresenceState
from potoserver.engine.valkey.keys import CHUNK, PARTITIONS, Keys, partition_of
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.scripts import decode, script


class Users:
    """Questions about users, answered by Valkey.

    Args:
        link: The way to Valkey.
        keys: The names there.
    """

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def node_of(self, user_id: str, connection_id: str) -> str | None:
        """The node that holds a connection of the user's; None where there is none."""
        call = script("node_of").of_user(self._keys, user_id, "", connection=connection_id)
        found = await self._link.run(call)
        return None if found is None else decode(found)

    async def presence_of(self, user_id: str) -> Presence:
        """The user's presence now."""
        (found,) = await self._link.run(script("presence").of_users(self._keys, [user_id]))
        return _presence(*found)

    async def presences_of(self, user_ids: Sequence[str]) -> list[Presence]:
        """The presence of several users, in their order: one script for all of a partition."""
        by_partition: defaultdict[int, list[str]] = defaultdict(list)
        for user_id in user_ids:
            by_partition[partition_of(user_id)].append(user_id)
        together = [
            of_partition[start : start + CHUNK]
            for of_partition in by_partition.values()
            for start in range(0, len(of_partition), CHUNK)
        ]
        calls = [script("presence").of_users(self._keys, users) for users in together]
        presences: dict[str, Presence] = {}
        for users, found in zip(together, await self._link.run_all(calls), strict=True):
            presences.update((user, _presence(*each)) for user, each in zip(users, found, strict=True))
        return [presences[user_id] for user_id in user_ids]

    async def online(self) -> list[str]:
        """Who is online, sorted."""
        return sorted(decode(user) for users in await self._of_all("online", "SMEMBERS") for user in users)

    async def count_online(self) -> int:
        """How many are online."""
        return sum(await self._of_all("online", "SCARD"))

    async def count_leaving(self) -> int:
        """How many are in the grace."""
        return sum(await self._of_all("leaving", "ZCARD"))

    async def leaving(self, limit: int) -> Sequence[Leaving]:
        """Those in the grace, whose grace ends first at the front."""
        if limit <= 0:
            return []
        found = await self._of_all("leaving", "ZRANGE", "0", str(limit - 1), "WITHSCORES")
        entries = (entry for of_partition in found for entry in _scored(of_partition))
        first = heapq.nsmallest(limit, ((departs_ms, decode(user)) for user, departs_ms in entries))
        if not first:
            return []
        about = await self._link.commands(
            [("HMGET", self._keys.of_user(user, "presence", ""), "cause", "since") for _, user in first]
        )
        return [
            Leaving(user, Cause(cause.decode()), int(since), departs_ms)
            for (departs_ms, user), (cause, since) in zip(first, about, strict=True)
            if cause is not None  # who has come back meanwhile is none of them
        ]

    async def _of_all(self, name: str, command: str, *arguments: str) -> list[Any]:
        return await self._link.commands(
            [(command, self._keys.of_partition(each, name), *arguments) for each in range(PARTITIONS)]
        )


def _presence(generation: int, connections: int, departs_ms: int) -> Presence:
    if not generation:
        return Presence(PresenceState.ABSENT, 0, 0)
    if connections:
        return Presence(PresenceState.ONLINE, generation, connections)
    return Presence(PresenceState.LEAVING, generation, 0, departs_ms=departs_ms)


def _scored(members: Any) -> list[tuple[bytes, int]]:
    """Members and scores, however the version of the protocol has them."""
    if members and isinstance(members[0], (list, tuple)):
        return [(member, int(score)) for member, score in members]
    return [(member, int(float(score))) for member, score in zip(members[::2], members[1::2], strict=True)]
