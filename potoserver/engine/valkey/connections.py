"""The connections of this node, as Valkey knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potoserver.engine.base import Home, TooManyConnectionsError
from potoserver.engine.presence import Attachment, Cause
from potoserver.engine.valkey.batches import away
from potoserver.engine.valkey.delivery import Delivery
from potoserver.engine.valkey.keys import CHUNK, Keys
from potoserver.engine.valkey.link import Link
from potoserver.engine.valkey.local import Local
from potoserver.engine.valkey.registry import Registry
from potoserver.engine.valkey.scripts import Call, decode, script
from potoserver.events import EventId


class Connections:
    """Attaches and detaches this node's connections; makes up for what could not be told in time.

    Args:
        link: The way to Valkey.
        keys: The names there.
        registry: This node among the others.
        local: What this node has.
        delivery: Where a user's events go on from.
        grace_ms: From a user's last connection to the departure.
        held_s: How long keys are held unless they are touched.
        on_dead: Called when this node turns out to be dead.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        registry: Registry,
        local: Local,
        delivery: Delivery,
        *,
        grace_ms: int,
        held_s: int,
        on_dead: Callable[[], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._registry = registry
        self._local = local
        self._delivery = delivery
        self._grace_ms = grace_ms
        self._held_s = held_s
        self._on_dead = on_dead
        self._attaching: dict[str, set[str]] = {}
        """By user: connections of which Valkey may know already, and this node does not yet."""

    async def attach(self, user_id: str, connection_id: str, most: int) -> Attachment:
        """Adds a connection, unless the user has `most` already (0: however many).

        Raises:
            TooManyConnectionsError: So it is.
            UnavailableError: It is not attached, and will not be.
        """
        self._delivery.expect(user_id)
        self._attaching.setdefault(user_id, set()).add(connection_id)
        try:
            answer = await self._link.run(self._attach(user_id, connection_id, most))
        except BaseException:  # also cancelled: it may have been attached all the same
            self._local.ended[user_id, connection_id] = Cause.CLOSED
            self._attached_or_not(user_id, connection_id)
            raise
        if answer[0] == b"ok":
            self._local.add(user_id, connection_id)
        self._attached_or_not(user_id, connection_id)
        if answer[0] != b"ok":
            if answer[0] == b"full":
                raise TooManyConnectionsError
            if answer[0] == b"dead":
                self._on_dead()
            raise away()
        return self._attached(user_id, answer)

    def _attach(self, user_id: str, connection_id: str, most: int = 0) -> Call:
        return script("attach").of_user(
            self._keys,
            user_id,
            self._registry.node_id,
            connection=connection_id,
            until_ms=self._registry.given_up_ms,
            most=most,
            held_s=self._held_s,
        )

    def _attached(self, user_id: str, answer: Any) -> Attachment:
        _, generation, arrived, epoch, newest = answer
        self._delivery.begin(user_id, EventId(epoch.decode(), newest))
        return Attachment(generation, arrived=bool(arrived))

    def _attached_or_not(self, user_id: str, connection_id: str) -> None:
        attaching = self._attaching[user_id]
        attaching.discard(connection_id)
        if not attaching:
            del self._attaching[user_id]
        self._forget_if_gone(user_id)

    def _forget_if_gone(self, user_id: str) -> None:
        if not self._local.of_user(user_id) and user_id not in self._attaching:
            self._delivery.end(user_id)

    async def detach(self, user_id: str, connection_id: str, cause: Cause) -> int:
        """Removes a connection, at the latest when Valkey is back. Returns how many the user has left."""
        self._local.remove(user_id, connection_id)
        self._forget_if_gone(user_id)
        self._local.ended[user_id, connection_id] = cause
        answer = await self._link.run(self._detach(user_id, connection_id, cause))
        self._local.ended.pop((user_id, connection_id), None)
        return int(answer)

    def _detach(self, user_id: str, connection_id: str, cause: Cause) -> Call:
        return script("detach").of_user(
            self._keys,
            user_id,
            self._registry.node_id,
            connection=connection_id,
            cause=cause,
            grace_ms=self._grace_ms,
            held_s=self._held_s,
        )

    async def detach_ended(self) -> None:
        """Tells Valkey of the connections whose end it has not taken."""
        ended = list(self._local.ended.items())
        for start in range(0, len(ended), CHUNK):
            some = ended[start : start + CHUNK]
            calls = [self._detach(user, connection, cause) for (user, connection), cause in some]
            await self._link.run_all(calls)
            for key, _ in some:
                self._local.ended.pop(key, None)

    async def attach_all(self) -> list[tuple[str, Attachment]]:
        """Attaches all connections of this node anew; returns what that did, user by user."""
        attachments: dict[str, Attachment] = {}
        pairs = list(self._local.pairs())
        for start in range(0, len(pairs), CHUNK):
            some = pairs[start : start + CHUNK]
            answers = await self._link.run_all([self._attach(*pair) for pair in some])
            for (user_id, connection_id), answer in zip(some, answers, strict=True):
                if answer[0] != b"ok":
                    raise away()
                if connection_id in self._local.of_user(user_id):
                    attachments.setdefault(user_id, self._attached(user_id, answer))
                else:  # it ended meanwhile, when Valkey did not know it by this node's new name
                    self._local.ended[user_id, connection_id] = Cause.CLOSED
        return list(attachments.items())

    def _here(self, user_id: str) -> frozenset[str]:
        return self._local.of_user(user_id) | self._attaching.get(user_id, frozenset())

    async def touch_all(self, user_ids: Sequence[str]) -> tuple[bool, list[Home]]:
        """Puts off the end of these users' keys.

        Returns:
            Whether Valkey knows of all their connections here, and their homes of which it knows no more.
        """
        complete, lost = True, []
        for start in range(0, len(user_ids), CHUNK):
            some = user_ids[start : start + CHUNK]
            before = [self._here(user_id) for user_id in some]
            homes = [self._local.homes.get(user_id) for user_id in some]
            answers = await self._link.run_all(
                [
                    script("touch").of_user(self._keys, user, self._registry.node_id, held_s=self._held_s)
                    for user in some
                ]
            )
            for user_id, home, (token, _) in zip(some, homes, answers, strict=True):
                if home is not None and home.token != token and self._local.homes.get(user_id) == home:
                    lost.append(self._local.homes.pop(user_id))
            for user_id, were_here, (_, there) in zip(some, before, answers, strict=True):
                known = {decode(each) for each in there}
                complete = complete and were_here & self._local.of_user(user_id) <= known
                for connection_id in known - were_here - self._here(user_id):
                    self._local.ended.setdefault((user_id, connection_id), Cause.CLOSED)
        return complete, lost
