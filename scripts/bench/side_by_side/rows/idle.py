"""Nothing happens: what heartbeats to all who are connected cost."""

from __future__ import annotations

from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.rows.base import LIMIT_S, Ground, Row


class Idle(Row):
    """The processor's time in one interval of heartbeats."""

    def fits(self, peer: type[Peer]) -> bool:
        """Not of one that sends no heartbeats."""
        return peer.beats

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        peer = ground.peer
        if peer.beat_path:
            told = post(peer.port, peer.beat_path, "", "")
            await ground.load.do("count", port=peer.port, requests=[told], expected=0, limit_s=LIMIT_S)
        used_s = ground.processor()
        found = await ground.load.do("hold", seconds=ground.size.idle_s)
        ground.busy["holding"] = found["busy"]
        figure = Figure(
            f"processor while {ground.size.held:,} connections are idle",
            "% of a core",
            (Bound(1, "", at_most=True),),
        )
        return {figure: used_s() / found["seconds"] * 100}
