"""Clients on several nodes while everything fails at random; then the whole history is checked.

A client does what the core and a browser do together: it attaches to a node, asks for what came after its
last id, takes what the node is told from then on, and comes back elsewhere when the node is gone or has told
it of a gap. Events are published meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from potoserver.engine.base import Home, LogEntry
from potoserver.engine.presence import Cause, Departure
from potoserver.errors import UnavailableError
from potoserver.events import Event, EventId
from tests.support.engines import Cluster, Node, Recorder


@dataclass
class Stay:
    """A connection's life: from when it was attached to when its end was known, by the machine's clock (ms).

    Attributes:
        sound: Its node was the same and alive all the time.
    """

    user_id: str
    generation: int
    since_ms: int
    until_ms: int
    sound: bool


@dataclass
class Published:
    """An event that the engine has acknowledged."""

    user_id: str
    id: EventId
    number: int


class Ear(Recorder):
    """Passes what a node is told on to the clients that are connected there."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[str, set[Client]] = defaultdict(set)
        self.departed_ms: list[tuple[Departure, int]] = []
        """Departures, and when they were told."""

    def on_departure(self, departure: Departure) -> None:
        super().on_departure(departure)
        self.departed_ms.append((departure, _now_ms()))

    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        for client in tuple(self.clients[user_id]):
            client.take(entry)

    def on_gap(self, user_id: str) -> None:
        super().on_gap(user_id)
        for client in tuple(self.clients[user_id]):
            client.end()


@dataclass(eq=False)
class Client:
    """One client of a user.

    Attributes:
        got: What it got: ids in order; None where it was told of a gap.
        stays: Its connections, those that have ended.
    """

    user_id: str
    number: int
    got: list[EventId | None] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    node: Node | None = None
    last: EventId | None = None
    _connection: str = ""
    _attached: tuple[int, int, str] | None = None
    _count: int = 0
    _held: list[LogEntry] | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, entry: LogEntry) -> None:
        if self._ended.is_set():
            return  # as a server does: nothing passes a gap while the stream is not closed yet
        if self._held is not None:
            self._held.append(entry)
        elif self.last is None or entry.id.seq > self.last.seq:
            self.last = entry.id
            self.got.append(entry.id)

    def end(self) -> None:
        """Its stream is ended by the server."""
        self._ended.set()

    async def connect(self, node: Node) -> bool:
        """Opens a stream; whether that succeeded."""
        self._count += 1
        self._connection = f"c-{self.user_id}-{self.number}-{self._count}"
        self.node, self._held = node, []
        self._ended.clear()
        ear = node.told
        assert isinstance(ear, Ear)
        ear.clients[self.user_id].add(self)
        try:
            attachment = await node.engine.attach(self.user_id, self._connection)
            self._attached = (attachment.generation, _now_ms(), node.id)
            replay = await node.engine.replay(self.user_id, None if self.last is None else str(self.last))
        except UnavailableError:
            await self.disconnect()
            return False
        held, self._held = self._held, None
        if replay.gap:
            self.got.append(None)
        self.last = replay.resume_id
        for entry in (*replay.entries, *held):
            self.take(entry)
        return True

    async def disconnect(self, cause: Cause = Cause.RESET) -> None:
        """Its stream ends; the node tells the engine as far as it can."""
        node, self.node = self.node, None
        if node is None:
            return
        assert isinstance(node.told, Ear)
        if self._attached is not None:
            (generation, since_ms, node_id), self._attached = self._attached, None
            sound = node.alive and node.id == node_id
            self.stays.append(Stay(self.user_id, generation, since_ms, _now_ms(), sound))
        node.told.clients[self.user_id].discard(self)
        self._held = None
        with suppress(UnavailableError):
            await node.engine.detach(self.user_id, self._connection, cause)

    async def until_ended(self, limit_s: float) -> None:
        """Waits for the server to end the stream."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._ended.wait()


def faults_of(client: Client, published: list[Published]) -> list[str]:
    """What is wrong with what a client got, given all that was acknowledged for its user.

    Between two gaps it must be whole: from the first event that it got on, each later one up to the last,
    once and in order.
    """
    order = [each.id for each in published]
    faults = []
    runs: list[list[EventId]] = [[]]
    for event_id in client.got:
        if event_id is None:
            runs.append([])
        else:
            runs[-1].append(event_id)
    for run in runs:
        doubled = [event_id for event_id, count in Counter(run).items() if count > 1]
        faults += [f"{client.user_id}/{client.number} got {event_id} twice" for event_id in doubled]
        faults += [
            f"{client.user_id}/{client.number} got {after} after {before}"
            for before, after in pairwise(run)
            if before.epoch == after.epoch and before.seq > after.seq
        ]
        if run:
            missing = {each for each in order if run[0] <= each <= run[-1]} - set(run)
            faults += [f"{client.user_id}/{client.number} missed {event_id}" for event_id in sorted(missing)]
            if len({each.epoch for each in run}) > 1:
                faults.append(f"{client.user_id}/{client.number} was not told of another epoch")
    return faults


def departed_while_here(nodes: list[Node], clients: list[Client]) -> list[str]:
    """Departures of a generation at a moment when one of its connections was there."""
    return [
        f"{departure} while {stay}"
        for node in nodes
        for departure in node.told.departures
        for client in clients
        if client.user_id == departure.user_id
        for stay in client.stays
        if stay.sound
        and stay.generation == departure.generation
        and stay.since_ms < departure.departed_ms - 5 < departure.departed_ms + 5 < stay.until_ms
    ]


def departed_early(nodes: list[Node], grace_s: float) -> list[str]:
    """Departures that were told before the grace had passed."""
    return [
        f"{departure} was told at {told_ms}"
        for node in nodes
        if isinstance(node.told, Ear)
        for departure, told_ms in node.told.departed_ms
        if told_ms < departure.last_seen_ms + grace_s * 1000 - 5
    ]


def unfenced(claimed: list[Home]) -> list[str]:
    """Of homes in the order in which they were seen: those whose token went back or was two nodes'."""
    faults = []
    newest: dict[str, Home] = {}
    for home in claimed:
        before = newest.get(home.user_id, home)
        if home.token < before.token or (home.token == before.token and home != before):
            faults.append(f"{home} after {before}")
        newest[home.user_id] = home
    return faults


def twice_departed(nodes: list[Node]) -> list[str]:
    """Generations of which more than one departure was made."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for node in nodes:
        departure: Departure
        for departure in node.told.departures:
            found[departure.user_id, departure.generation].add(departure.id)
    return [f"{key} departed as {ids}" for key, ids in found.items() if len(ids) > 1]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def live(client: Client, cluster: Cluster, chance: random.Random, over: asyncio.Event) -> None:
    """Connects, stays a while, comes back, now here, now there, until it is over; then stays."""
    while not over.is_set():
        nodes = [node for node in cluster.nodes if node.alive]
        if await client.connect(chance.choice(nodes)):
            await client.until_ended(chance.uniform(0.05, 2))
            await client.disconnect()
        await asyncio.sleep(chance.uniform(0, 0.3))


async def publish(
    user_id: str, cluster: Cluster, chance: random.Random, over: asyncio.Event, published: list[Published]
) -> None:
    """Publishes for a user, on any node, one after the other; remembers what was acknowledged."""
    number = 0
    while not over.is_set():
        node = chance.choice([node for node in cluster.nodes if node.alive])
        try:
            event_id = await node.engine.publish(user_id, Event("note", number))
            published.append(Published(user_id, event_id, number))
        except UnavailableError:
            pass
        number += 1
        await asyncio.sleep(chance.uniform(0, 0.08))


async def move_home(
    user_id: str, cluster: Cluster, chance: random.Random, over: asyncio.Event, claimed: list[Home]
) -> None:
    """Asks for the user's home on any node, and has it given up now and then; remembers what it was told."""
    while not over.is_set():
        node = chance.choice([node for node in cluster.nodes if node.alive])
        with suppress(UnavailableError):
            home = await node.engine.claim_home(user_id)
            claimed.append(home)
            if chance.random() < 0.3:
                await node.engine.release_home(home, orphan=chance.random() < 0.5)
        await asyncio.sleep(chance.uniform(0, 0.2))
