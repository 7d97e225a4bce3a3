"""More and more dialogs: whether an append and an archive cost the last what they cost the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.bench.dialogs import write_archive
from scripts.bench.side_by_side.figures import Figure
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.rows.base import AT_ONCE, Ground, Row, Size
from scripts.bench.side_by_side.rows.steps import Steps
from scripts.bench.side_by_side.users import name_of

_END = "/ChatServerModule/endSession"


def make_archives(folder: Path, size: Size) -> None:
    """Gives the first users archives: each as many as one of the steps has."""
    for number, count in enumerate(size.steps):
        user = name_of(number)
        archived = folder / "data" / "users" / user / "dialogs" / "archived"
        archived.mkdir(parents=True)
        for at in range(count):
            write_archive(archived, user, at, ["Are you still there?"])


class Dialogs(Row):
    """Appends while so many dialogs are open, and archives of a user who has so many already."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        steps = Steps()
        others, opened = len(ground.size.steps), 0
        for owner, upto in enumerate(ground.size.steps):
            while opened < upto:
                count = min(AT_ONCE, upto - opened)
                await self._call(ground, CHAT, others + opened, count)
                opened += count
            appended_us = await self._append(ground, others, opened)
            steps.add("processor per chat call, µs", appended_us, "open dialogs", upto)
            archived_us = await self._archive(ground, owner)
            steps.add("processor per archive, µs", archived_us, "archives of the user", upto)
        steps.compare()
        return steps.found

    async def _append(self, ground: Ground, begin: int, opened: int) -> float:
        """What a call costs that appends a question and a reply: microseconds of the processor."""
        callers = min(AT_ONCE, opened)
        used_s = ground.processor()
        done = await self._call(ground, CHAT, begin + opened - callers, callers, seconds=ground.size.calls_s)
        return used_s() / len(done["took_ms"]) * 1e6

    async def _archive(self, ground: Ground, owner: int) -> float:
        """What it costs to end a session: microseconds of the processor."""
        total_s = 0.0
        for _ in range(ground.size.archived):
            await self._call(ground, CHAT, owner, 1)
            used_s = ground.processor()
            await self._call(ground, _END, owner, 1)
            total_s += used_s()
        return total_s / ground.size.archived * 1e6

    async def _call(
        self, ground: Ground, path: str, begin: int, count: int, seconds: float = 0
    ) -> dict[str, Any]:
        body = json.dumps({"message": "And another thing."} if path == CHAT else {})
        found = await ground.load.do(
            "call",
            port=ground.peer.port,
            path=path,
            body=body,
            begin=begin,
            count=count,
            seconds=seconds,
        )
        ground.busy["calling"] = found["busy"]
        return found
