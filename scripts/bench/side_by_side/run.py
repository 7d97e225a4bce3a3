"""The run: every scene with every peer, again and again, in another order each time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.side_by_side.figures import Figure, Samples
from scripts.bench.side_by_side.load.process import Load, LoadError
from scripts.bench.side_by_side.machine import processors
from scripts.bench.side_by_side.peers.base import Peer
from scripts.bench.side_by_side.rows.base import Ground, Scene, Size
from scripts.bench.side_by_side.users import write_users


class Run:
    """Measures side by side.

    Args:
        folder: For the servers' files.
        peers: Who takes part.
        scenes: What is measured.
        size: How large.
        repeats: How often.
        limit_s: After how long nothing more is begun that would not be done by then.
    """

    def __init__(
        self,
        folder: Path,
        peers: Sequence[type[Peer]],
        scenes: Sequence[Scene],
        size: Size,
        *,
        repeats: int,
        limit_s: float,
    ) -> None:
        self.samples = Samples()
        self.busy = Samples()
        """How busy the load was."""
        self.left_out: list[str] = []
        """What was not measured, and why."""
        self.peers: list[type[Peer]] = []
        self._folder = folder
        self._scenes = scenes
        self._size = size
        self._repeats = repeats
        self._until_s = time.monotonic() + limit_s
        self._took_s: dict[tuple[str, str], float] = {}
        for peer in peers:
            reason = peer.missing()
            if reason is None:
                self.peers.append(peer)
            else:
                self.left_out.append(f"{peer.name}: {reason}")

    async def measure(self) -> None:
        """Measures all there is time for."""
        users_file = self._folder / "users"
        write_users(users_file, self._size.users)
        self._users = [line.split() for line in users_file.read_text().splitlines()]
        async with Load(processors()[1], users_file) as load:
            for repeat in range(self._repeats):
                for scene in self._scenes:
                    if repeat >= scene.repeats:
                        continue
                    # Another one is first each time: a machine that warms up favours none.
                    first = repeat % len(self.peers)
                    for peer in (*self.peers[first:], *self.peers[:first]):
                        if peer in scene.peers:
                            await self._visit(load, scene, peer, repeat)

    async def _visit(self, load: Load, scene: Scene, peer: type[Peer], repeat: int) -> None:
        begun_s = time.monotonic()
        what = f"{scene.name} of {peer.name}, repeat {repeat + 1}"
        if begun_s + self._took_s.get((scene.name, peer.name), 0) > self._until_s:
            self.left_out.append(f"{what}: no time left")
            return
        folder = self._folder / f"{scene.name}-{peer.__name__}-{repeat}"
        if scene.prepare is not None:
            scene.prepare(folder, self._size)
        server = peer(folder, processors()[0], scene.settings)
        try:
            async with asyncio.timeout(self._until_s - begun_s), server:
                ids, tokens = map(list, zip(*self._users, strict=True))
                ground = Ground(server, load, self._size, ids, tokens)
                for row in scene.rows:
                    if row.fits(peer):
                        for figure, value in (await row.measure(ground)).items():
                            self.samples.add(figure, peer.name, repeat, value)
                for did, share in ground.busy.items():
                    self.busy.add(
                        Figure(f"{scene.name}: {did}", "% of its processor"), peer.name, repeat, share * 100
                    )
                await load.do("drop")
        except (LoadError, TimeoutError) as error:
            if time.monotonic() >= self._until_s:
                self.left_out.append(f"{what}: time was up")
                return  # the load is still at it; nothing more will be measured
            self.left_out.append(f"{what}: {error}")
            await load.do("drop")
        took_s = self._took_s[scene.name, peer.name] = time.monotonic() - begun_s
        print(f"{what}: {took_s:.0f} s", file=sys.stderr, flush=True)
