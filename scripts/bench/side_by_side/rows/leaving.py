"""All leave at once, each with an open dialog: when the last archive is on disk, and who waits meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

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
        leave = self._plain if isinstance(ground.peer, PlainPeer) else self._leave
        archived_s, took_ms = await leave(ground, count)
        return {
            Figure(
                f"{count:,} users leave at once: until the last archive is on disk", "s", _ARCHIVED
            ): archived_s,
            Figure("calls of others meanwhile, p99", "ms", _WAITED): percentile(took_ms, 99),
        }

    @staticmethod
    async def _leave(ground: Ground, count: int) -> tuple[float, list[float]]:
        call = _call(ground)
        await ground.open(count)
        for begin in range(0, count, _AT_ONCE):
            await ground.load.do("call", **call, begin=begin, count=min(_AT_ONCE, count - begin), seconds=0)
        await ground.load.do("call", **call, **_others(count), seconds=0)
        begun_s = time.monotonic()
        await ground.load.do("drop")
        last = asyncio.create_task(_until_archived(ground.peer.folder / "data" / "open"))
        took_ms = await _talk_on(ground, count, last)
        return await last - begun_s - GRACE_MS / 1000, took_ms

    @staticmethod
    async def _plain(ground: Ground, count: int) -> tuple[float, list[float]]:
        port, token = ground.peer.port, ground.tokens[0]
        make = post(port, "/make", json.dumps({"count": count}), token)
        limit = {"expected": 0, "limit_s": _LIMIT_S, "until": "HTTP/1.1 200"}
        await ground.load.do("count", port=port, requests=[make], **limit)
        await ground.load.do("call", **_call(ground), **_others(count), seconds=0)
        begun_s = time.monotonic()
        last = asyncio.create_task(_answered(port, post(port, "/archive", "{}", token)))
        took_ms = await _talk_on(ground, count, last)
        return await last - begun_s, took_ms


def _call(ground: Ground) -> dict[str, Any]:
    return {"port": ground.peer.port, "path": CHAT, "body": json.dumps({"message": "See you tomorrow."})}


def _others(count: int) -> dict[str, Any]:
    return {"begin": count, "count": _BYSTANDERS, "every_s": _EVERY_S}


async def _talk_on(ground: Ground, count: int, last: asyncio.Task[float]) -> list[float]:
    """Lets the others talk until the last archive is there; how long their calls took, in milliseconds."""
    took_ms: list[float] = []
    while not last.done():
        answer = await ground.load.do("call", **_call(ground), **_others(count), seconds=_SLICE_S)
        took_ms += answer["took_ms"]
    return took_ms


async def _answered(port: int, request: str) -> float:
    """When a request was answered: monotonic time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    async with asyncio.timeout(_LIMIT_S):
        status = await reader.readline()
    at_s = time.monotonic()
    writer.close()
    if b" 200 " not in status:
        raise ConnectionError(f"answered {status!r}")
    return at_s


async def _until_archived(markers: Path) -> float:
    """When only the dialogs of those are open who have not left: monotonic time."""
    until_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < until_s:
        # On another thread, and as names alone: who looks must not take the server's time.
        if len(await asyncio.to_thread(os.listdir, markers)) <= _BYSTANDERS:
            return time.monotonic()
        await asyncio.sleep(_LOOK_S)
    raise TimeoutError(f"dialogs are still open after {_LIMIT_S:.0f} s")
