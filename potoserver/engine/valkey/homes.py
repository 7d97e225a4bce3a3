"""Homes: on which node everything about a user's dialogs happens."""

from __future__ import annotations

from collections.abc import Callable

from potoserver.engine.base import Home
from potoserver.engine.valkey.batches import away
from potoserver.engine.valkey.keys import PARTITIONS, Keys
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.local import Local
from potoserver.engine.valkey.registry import Registry
from potoserver.engine.valkey.scripts import decode, script


class Homes:
    """Claims and releases homes for this node.

    Args:
        link: The way to Valkey.
        keys: The names there.
        registry: This node among the others.
        local: What this node has.
        held_s: How long keys are held unless they are touched.
        on_dead: Called when this node turns out to be dead.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        registry: Registry,
        local: Local,
        *,
        held_s: int,
        on_dead: Callable[[], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._registry = registry
        self._local = local
        self._held_s = held_s
        self._on_dead = on_dead

    async def of(self, user_id: str) -> Home | None:
        """The user's home there is."""
        name = self._keys.of_user(user_id, "home", "")
        node, token = (await self._link.commands([("HMGET", name, "node", "token")]))[0]
        return None if node is None else Home(user_id, decode(node), int(token))

    async def claim(self, user_id: str, above: int) -> Home:
        """The user's home; this node becomes it where there is none."""
        node_id = self._registry.node_id
        call = script("claim_home").of_user(self._keys, user_id, node_id, above=above, held_s=self._held_s)
        answer = await self._link.run(call)
        if answer[0] != b"ok" or node_id != self._registry.node_id:
            self._on_dead()
            raise away()
        home = Home(user_id, decode(answer[1]), answer[2])
        if home.node_id == node_id:
            self._local.homes[user_id] = home
        return home

    async def orphans(self) -> list[str]:
        """The users whom somebody is to take over."""
        commands = [
            ("ZRANGE", self._keys.of_partition(each, "orphans"), "0", "-1") for each in range(PARTITIONS)
        ]
        found = await self._link.commands(commands)
        return [decode(user) for users in found for user in users]

    async def release(self, home: Home, *, orphan: bool) -> None:
        """Gives up a home of this node."""
        if self._local.homes.get(home.user_id) == home:
            del self._local.homes[home.user_id]
        call = script("release_home").of_user(
            self._keys, home.user_id, home.node_id, token=home.token, orphan=orphan, held_s=self._held_s
        )
        await self._link.run(call)

    def lose_all(self) -> list[Home]:
        """This node is another one now: the homes that it had."""
        lost = list(self._local.homes.values())
        self._local.homes.clear()
        return lost
