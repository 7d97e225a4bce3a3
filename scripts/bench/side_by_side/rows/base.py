"""What a row of the table is, and what it finds when it is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.gauge import Gauge
from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.figures import Figure
from scripts.bench.side_by_side.load.process import Load
from scripts.bench.side_by_side.peers.base import Peer

AT_ONCE = 64
"""How many connections are on their way at once: fewer than any server's backlog."""
LIMIT_S = 60.0
"""In which what was sent has to arrive."""


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        warm: How many connect before anything is measured, so that what comes once has come.
        held: How many users are connected where connections are held.
        steps: How many are connected, or have a dialog, one after the other where growth is looked at.
        crowd: How many get one event.
        broadcasts: How many events a crowd gets at least.
        fan_out_s: For how long it gets events, if these are done sooner: what takes less differs each time.
        stamps: How many events single ones of those held get.
        ends: How many of those held are closed, and how many reset.
        leavers: How many users leave at once, each with an open dialog.
        on_disk: How many users there are on disk at a start.
        left_open: How many dialogs of theirs were left open.
        archived: How many archives are made where growth is looked at.
        deltas: How many words a reply has that streams.
        calls_s: For how long calls are made.
        idle_s: For how long nothing is done: a heartbeat's interval, in which each connection has one.
        settled_s: After how long nothing that was begun is still on its way.
    """

    warm: int = 200
    held: int = 10_000
    steps: tuple[int, ...] = (1_000, 5_000, 10_000, 18_000)
    crowd: int = 2_000
    broadcasts: int = 20
    fan_out_s: float = 1.0
    stamps: int = 1_000
    ends: int = 200
    leavers: int = 10_000
    on_disk: int = 1_000_000
    left_open: int = 10_000
    archived: int = 100
    deltas: int = 1_000
    calls_s: float = 5.0
    idle_s: float = 15.0
    settled_s: float = 1.0

    @property
    def users(self) -> int:
        """How many users there must be."""
        return self.warm + max(self.held, self.steps[-1], self.crowd)


SHORT = Size(
    warm=10,
    held=200,
    steps=(50, 100, 300),
    crowd=100,
    broadcasts=3,
    fan_out_s=0.01,
    stamps=30,
    ends=5,
    leavers=50,
    on_disk=200,
    left_open=20,
    archived=10,
    deltas=50,
    calls_s=0.3,
    idle_s=0.3,
)


@dataclass
class Ground:
    """A server that was just started, and the load before it.

    Attributes:
        peer: The server.
        load: The load.
        size: How large the run is.
        users: The ids of all users, in the order in which they connect.
        tokens: Their tokens.
        opened: How many users have connected.
        busy: How busy the load was, by what it did.
    """

    peer: Peer
    load: Load
    size: Size
    users: list[str]
    tokens: list[str]
    opened: int = 0
    busy: dict[str, float] = field(default_factory=dict)

    def processor(self) -> Callable[[], float]:
        """Returns what tells how many seconds the server used its processor for from now on."""
        gauges = [Gauge(pid) for pid in self.peer.pids]
        return lambda: sum(gauge.cpu_s() for gauge in gauges)

    async def open(self, count: int, *, one_user: bool = False) -> float:
        """Opens streams of users who have none yet; returns how many seconds that took."""
        found = await self.load.do(
            "open",
            port=self.peer.port,
            path=self.peer.path,
            first=self.peer.first,
            begin=self.opened,
            count=count,
            at_once=AT_ONCE,
            one_user=one_user,
        )
        self.opened += 1 if one_user else count
        self.busy["connecting"] = found["busy"]
        return float(found["seconds"])

    async def count(self, command: Command, expected: int) -> float:
        """Has events sent; returns how many seconds it took until so many were there."""
        requests = self.peer.requests(command, self.tokens[0])
        found = await self.load.do(
            "count", port=self.peer.port, requests=requests, expected=expected, limit_s=LIMIT_S
        )
        self.busy["counting events"] = found["busy"]
        return float(found["seconds"])


class Row(ABC):
    """Something that is measured of a server, on which another row may have been measured before."""

    def fits(self, peer: type[Peer]) -> bool:
        """Whether it can be measured of that peer."""
        return True

    @abstractmethod
    async def measure(self, ground: Ground) -> dict[Figure, float]:
        """Measures, and returns what it found."""


@dataclass(frozen=True)
class Scene:
    """Rows that are measured of the same server, one after the other.

    Attributes:
        name: Of the scene.
        rows: What is measured.
        settings: What is set in this server for it.
        peers: Who takes part.
        repeats: How often it is worth the time, however many repeats there are.
        prepare: Makes what the server finds in its folder.
        asked_for: Whether it is measured only where it is asked for by name: it takes too long.
    """

    name: str
    rows: tuple[Row, ...]
    peers: tuple[type[Peer], ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    repeats: int = 100
    prepare: Callable[[Path, Size], None] | None = None
    asked_for: bool = False
