"""This node's ear: its own channel and the one of all nodes, and whether anything comes through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from potoserver.engine.valkey.keys import SILENCE_S, Keys
from potoserver.engine.valkey.link import FAILURES, Cancellations, Link, end
from potoserver.engine.valkey.scripts import decode
from potoserver.errors import UnavailableError

_PAUSE_FIRST_S: Final = 0.05
_PAUSE_LAST_S: Final = 1.0
_WAIT_S: Final = SILENCE_S / 3


@dataclass(frozen=True, slots=True)
class Published:
    """An event of a user's log as it comes through the channel.

    Attributes:
        user_id: Whose.
        epoch: The log's.
        before: The number of the log's event before this one, 0 for none.
        seq: Its number.
        type: The event's type.
        data_json: Its data.
    """

    user_id: str
    epoch: str
    before: int
    seq: int
    type: str
    data_json: str


class Channel:
    """Listens, for as long as it is started; connects anew when the path is broken.

    Args:
        link: The way to Valkey.
        keys: The channels' names.
        node_id: Gives this node's name as it is now.
        on_published: Told of each event of a user's log.
        on_begun_anew: Told of each user whose log was begun anew.
        on_broadcast: Told of each broadcast: type and data.
        on_message: Told what another node sends: its name and the payload.
        on_listening: Told that it listens (again): what was sent before is lost.
        logger: Where it says that the path is broken.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        node_id: Callable[[], str],
        *,
        on_published: Callable[[Published], None],
        on_begun_anew: Callable[[str], None],
        on_broadcast: Callable[[str, str], None],
        on_message: Callable[[str, bytes], None],
        on_listening: Callable[[], None],
        logger: FilteringBoundLogger,
    ) -> None:
        self._link = link
        self._keys = keys
        self._node_id = node_id
        self._on_published = on_published
        self._on_begun_anew = on_begun_anew
        self._on_broadcast = on_broadcast
        self._on_message = on_message
        self._on_listening = on_listening
        self._logger = logger
        self._silent_s = 0.0
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing comes through; None while it does."""
        if not self._listening.is_set():
            return "not subscribed"
        return f"nothing came through for {self._silent_s:.0f} s" if self._silent_s >= SILENCE_S else None

    def start(self) -> None:
        """Listens from now on."""
        self._task = asyncio.create_task(self._run(), name="engine channel")

    async def until_listening(self) -> None:
        """Waits until it does."""
        await self._listening.wait()

    async def stop(self) -> None:
        """Listens no more."""
        await end([self._task])
        self._listening.clear()

    async def move(self) -> None:
        """Listens by the node's name as it is now."""
        await self.stop()
        self.start()

    async def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await self._listen()
            except (*FAILURES, UnavailableError) as error:
                if self._listening.is_set():
                    self._logger.warning("engine channel broken", error=f"{type(error).__name__}: {error}")
                    pause_s = _PAUSE_FIRST_S
                self._listening.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_LAST_S)

    async def _listen(self) -> None:
        own = self._keys.channel(self._node_id())
        client = await self._link.subscriber(self._keys.route(own))
        try:
            await self._listen_on(client, own)
        finally:
            with suppress(*FAILURES):
                await client.aclose()

    async def _listen_on(self, client: Redis, own: str) -> None:
        subscription: Any = client.pubsub()
        channels = (own, self._keys.everybody)
        await subscription.subscribe(*channels)
        for _ in channels:
            if await subscription.get_message(timeout=SILENCE_S) is None:
                raise TimeoutError("no answer to the subscription")
        self._silent_s = 0.0
        self._listening.set()
        self._on_listening()
        cancellations = Cancellations()
        while True:
            begun_s = time.monotonic()
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_WAIT_S)
            cancellations.check()
            # No longer than it listened: if this process stood still, what came meanwhile is read next.
            self._silent_s += min(time.monotonic() - begun_s, _WAIT_S)
            if message is not None and message["type"] == "message":
                if message["channel"] == own.encode():
                    self._silent_s = 0.0
                self._hear(message["data"])
            if self._silent_s >= SILENCE_S and self._link.trouble is None:
                raise TimeoutError(f"nothing came through for {SILENCE_S:g} s")

    def _hear(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception:  # what comes behind it must be heard all the same; an event is missed with the next
            self._logger.exception("engine fault", bytes=len(data))

    def _take(self, data: bytes) -> None:
        """The first word says what it is: e(vent), a(new), b(roadcast), m(essage), or p(ing)."""
        if data == b"p":
            return
        head, _, rest = data.partition(b"\n")
        kind, *fields = head.split(b" ")
        if kind == b"e":
            epoch, before, seq, user_bytes, type_bytes = fields
            user_end = int(user_bytes)
            type_end = user_end + int(type_bytes)
            self._on_published(
                Published(
                    user_id=decode(rest[:user_end]),
                    epoch=epoch.decode(),
                    before=int(before),
                    seq=int(seq),
                    type=rest[user_end:type_end].decode(),
                    data_json=rest[type_end:].decode(),
                )
            )
        elif kind == b"a":
            self._on_begun_anew(decode(rest))
        elif kind == b"b":
            type_end = int(fields[0])
            self._on_broadcast(rest[:type_end].decode(), rest[type_end:].decode())
        elif kind == b"m":
            self._on_message(fields[0].decode(), rest)


def broadcast_message(event_type: str, data_json: str) -> bytes:
    """What goes to the channel of all nodes."""
    return b"b %d\n%b%b" % (len(event_type), event_type.encode(), data_json.encode())


def node_message(sender_node_id: str, payload: bytes) -> bytes:
    """What goes to the channel of another node."""
    return b"m %b\n%b" % (sender_node_id.encode(), payload)
