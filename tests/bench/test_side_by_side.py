"""The benchmark that holds this server beside others, run with next to nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from scripts.bench.side_by_side.figures import Figure
from scripts.bench.side_by_side.peers.bare import BarePeer
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.peers.plain import PlainPeer
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.peers.raw import RawPeer
from scripts.bench.side_by_side.rows.base import Ground, Row, Scene, Size
from scripts.bench.side_by_side.rows.ends import Ends
from scripts.bench.side_by_side.rows.idle import Idle
from scripts.bench.side_by_side.rows.start import Start, make_users
from scripts.bench.side_by_side.run import Run
from scripts.bench.side_by_side.scenes import SCENES

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc and waits with epoll"),
]

TINY = Size(
    warm=2,
    held=6,
    steps=(2, 50),
    crowd=4,
    broadcasts=2,
    stamps=4,
    ends=1,
    leavers=3,
    on_disk=6,
    left_open=2,
    archived=2,
    deltas=5,
    calls_s=0.05,
    idle_s=0.05,
    fan_out_s=0.01,
    settled_s=0.05,
)


async def test_every_row_can_be_measured(tmp_path: Path) -> None:
    """Of this server, through its real paths; of few starts, since a start is what takes longest."""
    by_name = {scene.name: scene for scene in SCENES}
    alone = {"leave", "growth", "dialogs", "start"}
    rows = tuple(row for name, scene in by_name.items() if name not in alone for row in scene.rows)
    scenes = [
        Scene("all", (Start(), *rows), (Potoserver,), {"presence": {"grace_ms": 100}}, prepare=make_users),
        by_name["leave"],
        by_name["dialogs"],
        Scene("open", (*rows[:1], Idle(), Ends()), (RawPeer,)),
        by_name["reply-fast"],
        Scene("growth", by_name["growth"].rows, (RawPeer,)),
    ]
    run = Run(tmp_path, [Potoserver, RawPeer, PlainPeer], scenes, TINY, repeats=1, limit_s=100)
    await run.measure()
    assert run.left_out == []
    peers = [set(run.samples.by_peer(figure)) for figure in run.samples.figures]
    assert sum("potoserver" in of_figure for of_figure in peers) == 42
    assert {"potoserver", "raw asyncio"} in peers, "connects of both"
    assert {"potoserver", "plain loop"} in peers, "archives of both"
    for what in (
        "as fast as they come",
        "connections are idle",
        "closed by the client to noticed, 6 held, p99",
    ):
        (figure,) = [figure for figure in run.samples.figures if what in figure.name]
        assert set(run.samples.by_peer(figure)) == {"potoserver", "raw asyncio"}, what
    assert sum(of_figure == {"raw asyncio"} for of_figure in peers) == 10, "its growth"
    assert run.busy.figures, "how busy the load was is told"


async def test_a_bare_handler_answers_like_this_server(tmp_path: Path) -> None:
    """And keeps what it is asked to keep, for each caller."""
    scenes = [scene for scene in SCENES if scene.name == "chat-flushed"]
    run = Run(tmp_path, [BarePeer], scenes, TINY, repeats=1, limit_s=100)
    await run.measure()
    assert run.left_out == []
    files = list(tmp_path.glob("chat-flushed-*/*.yaml"))
    assert len(files) == TINY.users
    for file in files:
        roles = [item["role"] for item in yaml.safe_load(file.read_bytes())]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


class _Fails(Row):
    async def measure(self, ground: Ground) -> dict[Figure, float]:
        await ground.load.do(
            "count", port=ground.peer.port, requests=["GET /subscribe"], expected=1, limit_s=0.1
        )
        return {}


class _Missing(RawPeer):
    @classmethod
    def missing(cls) -> str | None:
        return "not here"


async def test_what_can_t_be_measured_is_told_and_stops_nothing_else(tmp_path: Path) -> None:
    """A peer that is not installed, events that don't come, and time that is up."""
    worked: list[str] = []

    class _Works(Row):
        async def measure(self, ground: Ground) -> dict[Figure, float]:
            worked.append(ground.peer.name)
            return {}

    peers: list[type[Peer]] = [_Missing, RawPeer]
    scenes = [Scene("fails", (_Fails(),), (RawPeer,)), Scene("works", (_Works(),), (RawPeer,))]
    run = Run(tmp_path, peers, scenes, TINY, repeats=1, limit_s=60)
    await run.measure()
    missing, failed = run.left_out
    assert missing == "raw asyncio: not here"
    assert failed.startswith("fails of raw asyncio, repeat 1: count: ")
    assert worked == ["raw asyncio"]


async def test_a_run_ends_when_its_time_is_up(tmp_path: Path) -> None:
    """Also in the middle of what has never been measured before, and then begins nothing more."""

    class _Waits(Row):
        async def measure(self, ground: Ground) -> dict[Figure, float]:
            await ground.load.do("hold", seconds=600)
            return {}

    scenes = [Scene("waits", (_Waits(),), (RawPeer,)), Scene("works", (), (RawPeer,))]
    run = Run(tmp_path, [RawPeer], scenes, TINY, repeats=1, limit_s=8)
    await run.measure()
    assert run.left_out == [
        "waits of raw asyncio, repeat 1: time was up",
        "works of raw asyncio, repeat 1: no time left",
    ]
