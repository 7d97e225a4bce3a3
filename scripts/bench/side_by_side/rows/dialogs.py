"""More and more dialogs: whether an append and an archive cost the last what they cost the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from modules.chat_server.journal.layout import second_name
from modules.chat_server.journal.records import Conversation, Message, Reason
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.peers.bare import CHAT
from scripts.bench.side_by_side.rows.base import AT_ONCE, Ground, Row, Size
from scripts.bench.side_by_side.users import name_of

_BEGAN_MS = 1_600_000_000_000
_BETWEEN_MS = 3_600_000
_END = "/ChatServerModule/endSession"
_FLAT = (Bound(1.3, "", at_most=True),)
"""What differs by less is noise."""


def make_archives(folder: Path, size: Size) -> None:
    """Gives the first users archives: each as many as one of the steps has."""
    for number, count in enumerate(size.steps):
        user = name_of(number)
        archived = folder / "data" / "users" / user / "dialogs" / "archived"
        archived.mkdir(parents=True)
        for at in range(count):
            began_ms = _BEGAN_MS + at * _BETWEEN_MS
            message = Message("user", "Are you still there?", f"m-{number}-{at}", began_ms)
            data = (
                emit_head(Conversation(f"sse-{began_ms}-{at:09}", began_ms), user)
                + emit_message(message)
                + emit_footer(began_ms + 1000, Reason.DISCONNECT, 1)
            )
            (archived / f"{second_name(began_ms + 1000)}.yaml").write_bytes(data)


class Dialogs(Row):
    """Appends while so many dialogs are open, and archives of a user who has so many already."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        steps = ground.size.steps
        found: dict[Figure, float] = {}
        costs: dict[str, list[float]] = {}
        others, opened = len(steps), 0
        for owner, upto in enumerate(steps):
            while opened < upto:
                count = min(AT_ONCE, upto - opened)
                await self._call(ground, CHAT, others + opened, count)
                opened += count
            step = {
                "processor per chat call, µs": ("open dialogs", await self._append(ground, others, opened)),
                "processor per archive, µs": ("archives of the user", await self._archive(ground, owner)),
            }
            for name, (along, value) in step.items():
                what, _, unit = name.rpartition(", ")
                figure = Figure(f"{what}, {upto:,} {along}", unit, series=what, along=along, at=upto)
                found[figure] = value
                costs.setdefault(what, []).append(value)
        for what, values in costs.items():
            figure = Figure(f"{what}, {steps[-1]:,} dialogs against {steps[0]:,}", "times", _FLAT)
            found[figure] = values[-1] / values[0]
        return found

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
