"""Chat calls that echo: 64 users, each of whom calls again as soon as the answer is there."""

from __future__ import annotations

import json

from scripts.bench.side_by_side.figures import Bound, Figure, percentile
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.rows.base import Ground, Row

USERS = 64
_MESSAGE = (
    "Would you be so kind as to tell me when the coffee was last seen on the second floor, and by whom?"
)
_BOUND = (Bound(0.5, "bare aiohttp", at_most=False),)


class Chat(Row):
    """As many calls as there are in a while.

    Args:
        flush: What `chat.journal.fsync` says, for the table.
    """

    def __init__(self, flush: str) -> None:
        self._flush = flush

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        call = {"port": ground.peer.port, "path": CHAT, "body": json.dumps({"message": _MESSAGE})}
        await ground.load.do("call", **call, begin=0, count=USERS, seconds=0)  # each once: it makes the files
        used_s = ground.processor()
        found = await ground.load.do("call", **call, begin=0, count=USERS, seconds=ground.size.calls_s)
        ground.busy["calling"] = found["busy"]
        took_ms = found["took_ms"]
        name = f"chat calls, flush {self._flush}, {USERS} users"
        return {
            Figure(name, "1/s", _BOUND): len(took_ms) / found["seconds"],
            Figure(f"processor per call, flush {self._flush}", "µs"): used_s() / len(took_ms) * 1e6,
            Figure(f"{name}, p50", "ms"): percentile(took_ms, 50),
            Figure(f"{name}, p99", "ms"): percentile(took_ms, 99),
        }
