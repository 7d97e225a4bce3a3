"""What is measured together, in the order of its worth."""

from __future__ import annotations

from scripts.bench.side_by_side.peers.aiohttp_sse import AiohttpSsePeer
from scripts.bench.side_by_side.peers.bare import FLUSHED, BarePeer
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.peers.nchan import NchanPeer
from scripts.bench.side_by_side.peers.plain import PlainPeer
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.peers.raw import RawPeer
from scripts.bench.side_by_side.peers.released import ReleasedPeer
from scripts.bench.side_by_side.peers.starlette import StarlettePeer
from scripts.bench.side_by_side.rows.base import Scene
from scripts.bench.side_by_side.rows.chat import Chat
from scripts.bench.side_by_side.rows.dialogs import Dialogs, make_archives
from scripts.bench.side_by_side.rows.ends import Ends
from scripts.bench.side_by_side.rows.fan_out import FanOut
from scripts.bench.side_by_side.rows.growth import Growth
from scripts.bench.side_by_side.rows.idle import Idle
from scripts.bench.side_by_side.rows.leaving import GRACE_MS, Leaving
from scripts.bench.side_by_side.rows.one_event import OneEvent
from scripts.bench.side_by_side.rows.opening import Opening
from scripts.bench.side_by_side.rows.reply import Reply
from scripts.bench.side_by_side.rows.start import Start, make_users

STREAMS: tuple[type[Peer], ...] = (
    Potoserver,
    RawPeer,
    ReleasedPeer,
    AiohttpSsePeer,
    StarlettePeer,
    NchanPeer,
)
"""Who holds event streams."""
PACED: tuple[type[Peer], ...] = (Potoserver, RawPeer, AiohttpSsePeer)
"""Who sends one event after the other to one connection."""
CALLS: tuple[type[Peer], ...] = (Potoserver, BarePeer)
"""Who answers chat calls."""
PEERS: tuple[type[Peer], ...] = (*STREAMS, BarePeer, PlainPeer)

SCENES = (
    Scene("held", (Opening(), OneEvent(), Idle(), Ends()), STREAMS),
    Scene("crowd", (FanOut(one_user=False),), STREAMS),
    Scene("tabs", (FanOut(one_user=True),), STREAMS),
    Scene("chat-flushed", (Chat("always"),), CALLS, {"chat": FLUSHED}),
    Scene("chat", (Chat("never"),), CALLS, {"chat": {"journal": {"fsync": "never"}}}),
    Scene("reply", (Reply(1),), PACED, {"chat": {"echo": {"delay_ms": 1}}}),
    Scene("reply-fast", (Reply(0),), PACED),
    Scene("leave", (Leaving(),), (Potoserver, PlainPeer), {"presence": {"grace_ms": GRACE_MS}}, repeats=1),
    Scene("start", (Start(),), (Potoserver,), repeats=1, prepare=make_users, asked_for=True),
    Scene("growth", (Growth(),), (Potoserver, RawPeer), repeats=1),
    Scene("dialogs", (Dialogs(),), (Potoserver,), repeats=1, prepare=make_archives),
)
