"""Server modules that misbehave, loaded into the real server by import string."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from modules.chat_server.journal import batches
from modules.chat_server.journal.disk import Disk
from potoserver import Cause, Connection, Departure, ServerModule
from potoserver.logs.file import RotatingFile
from tests.faults.disk import seam
from tests.faults.plan import PlannedFaults


class FaultyDisks(ServerModule):
    """Puts the journal's and the logs' system calls under the plan in the file `FAULT_PLAN`."""

    def __init__(self) -> None:
        faults = PlannedFaults(Path(os.environ["FAULT_PLAN"]))
        for owner in (Disk, RotatingFile):
            setattr(owner, "_call", seam(faults))  # noqa: B010 - a type checker would refuse the plain one


class FaultyDisksApart(FaultyDisks):
    """The same; each of those who archive at once has a thread: a held call keeps no other from its point."""

    def __init__(self) -> None:
        super().__init__()
        setattr(batches, "BATCH_LIMIT", 1)  # noqa: B010 - likewise


async def _misbehave() -> None:
    """Raises, hangs, or is slow: as `ROGUE_MANNER` says."""
    manner = os.environ["ROGUE_MANNER"]
    if manner == "raises":
        raise RuntimeError("a rogue's own failure")
    if manner == "hangs":
        await asyncio.Event().wait()
    if manner == "clings":
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
    if manner == "slow":
        await asyncio.sleep(0.7)


class Rogue(ServerModule):
    """Misbehaves in the hooks that `ROGUE_HOOKS` names; counts its calls in the log."""

    connected_field_names: ClassVar[tuple[str, ...]] = ("rogue",)

    async def _hook(self, name: str, **fields: Any) -> None:
        self.context.logger().info("rogue called", hook=name, **fields)
        if name in os.environ["ROGUE_HOOKS"].split():
            await _misbehave()

    @override
    async def on_start(self) -> None:
        await self._hook("on_start")

    @override
    async def on_stop(self) -> None:
        await self._hook("on_stop")

    @override
    async def on_sse_connect(self, user_id: str) -> None:
        await self._hook("on_sse_connect", user=user_id)

    @override
    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        await self._hook("on_sse_disconnect", user=user_id, departure=departure.id)

    @override
    async def on_connection_opened(self, connection: Connection) -> None:
        await self._hook("on_connection_opened", connection=connection.id)

    @override
    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        await self._hook("on_connection_closed", connection=connection.id, cause=str(cause))

    @override
    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        await self._hook("connected_fields", user=user_id)
        return {"rogue": "well"}

    @override
    async def health_fields(self) -> Mapping[str, Any]:
        await self._hook("health_fields")
        return {"rogue": "well"}
