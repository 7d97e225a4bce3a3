"""All leave at once, each with an open dialog: when the last archive is on disk, and who waits meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.peers.plain import PlainPeer
from scripts.bench.side_by_side.rows.base import Ground, Row

GRACE_MS = 5_000
"""The default. With a shorter one dialogs are archived while ends are heard, and each is slower for it."""
_LIMIT_S = 300.0
_AT_ONCE = 200
_LOOK_S = 0.05
_SLICE_S = 0.5
_BYSTANDERS = 8
_EVERY_S = 0.1
"""How often each of these says something. If they called as soon as they were answered, they would take
whatever they can get, and the last archive would tell of their calls more than of itself.
"""
_ARCHIVED = (Bound(1.5, "plain loop", at_most=True),)
_WAITED = (Bound(50, "", at_most=True),)


class Leaving(Row):
    """Users connect and say something each, and then all are gone; a few others talk on, at a pace."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        count = ground.size.leavers
        archived = Figure(f"{count:,} users leave at once: until the last archive is on disk", "s", _ARCHIVED)
        if isinstance(ground.peer, PlainPeer):
            return {archived: await self._plain(ground, count)}
        call = {"port": ground.peer.port, "path": CHAT, "body": json.dumps({"message": "See you tomorrow."})}
        await ground.open(count)
        for begin in range(0, count, _AT_ONCE):
            await ground.load.do("call", **call, begin=begin, count=min(_AT_ONCE, count - begin), seconds=0)
        others = {**call, "begin": count, "count": _BYSTANDERS, "every_s": _EVERY_S}
        await ground.load.do("call", **others, seconds=0)
        begun_s = time.monotonic()
        await ground.load.do("drop")
        last = asyncio.create_task(_until_archived(ground.peer.folder / "data" / "open"))
        took_ms: list[float] = []
        while not last.done():
            took_ms += (await ground.load.do("call", **others, seconds=_SLICE_S))["took_ms"]
        return {
            archived: await last - begun_s - GRACE_MS / 1000,
            Figure("calls of others meanwhile, p99", "ms", _WAITED): percentile(took_ms, 99),
        }

    @staticmethod
    async def _plain(ground: Ground, count: int) -> float:
        port, token = ground.peer.port, ground.tokens[0]
        ask = {"port": port, "expected": 0, "limit_s": _LIMIT_S}
        make = post(port, "/make", json.dumps({"count": count}), token)
        await ground.load.do("count", **ask, requests=[make], until="HTTP/1.1 200")
        archive = post(port, "/archive", "{}", token)
        found = await ground.load.do("count", **ask, requests=[archive], until="HTTP/1.1 200")
        return float(found["seconds"])


async def _until_archived(markers: Path) -> float:
    """When only the dialogs of those are open who have not left: monotonic time."""
    until_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < until_s:
        # On another thread, and as names alone: who looks must not take the server's time.
        if len(await asyncio.to_thread(os.listdir, markers)) <= _BYSTANDERS:
            return time.monotonic()
        await asyncio.sleep(_LOOK_S)
    raise TimeoutError(f"dialogs are still open after {_LIMIT_S:.0f} s")
