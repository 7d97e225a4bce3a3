"""What is measured together, in the order of its worth."""

from __future__ import annotations

from scripts.bench.side_by_side.peers.aiohttp_sse import AiohttpSsePeer
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.peers.nchan import NchanPeer
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.peers.raw import RawPeer
from scripts.bench.side_by_side.peers.released import ReleasedPeer
from scripts.bench.side_by_side.peers.starlette import StarlettePeer
from scripts.bench.side_by_side.rows.base import Scene
from scripts.bench.side_by_side.rows.fan_out import FanOut
from scripts.bench.side_by_side.rows.idle import Idle
from scripts.bench.side_by_side.rows.one_event import OneEvent
from scripts.bench.side_by_side.rows.opening import Opening

PEERS: tuple[type[Peer], ...] = (Potoserver, RawPeer, ReleasedPeer, AiohttpSsePeer, StarlettePeer, NchanPeer)

SCENES = (
    Scene("held", (Opening(), OneEvent(), Idle())),
    Scene("crowd", (FanOut(one_user=False), FanOut(one_user=True))),
    Scene("most", (Opening(most=True),), peers=("potoserver", "raw asyncio"), repeats=1),
)
