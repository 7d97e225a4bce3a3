"""A node as a process of its own: does what stdin says, line by line, and tells on stdout what it is told.

Run as `python -m tests.engine.node_process URL PREFIX GRACE_MS`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import structlog

from potoserver.engine.base import EngineListener, Home, LogEntry
from potoserver.engine.presence import Attachment, Cause, Departure
from potoserver.engine.valkey import ValkeyEngine
from potoserver.errors import UnavailableError
from potoserver.events import Event, Frame
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings


def tell(what: str, **fields: Any) -> None:
    print(json.dumps({"what": what, **fields}), flush=True)


class Teller(EngineListener):
    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        tell("entry", user=user_id, id=str(entry.id))

    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        return 0

    def on_departure(self, departure: Departure) -> None:
        tell("departure", user=departure.user_id, cause=departure.cause, id=departure.id)

    def on_gap(self, user_id: str) -> None:
        tell("gap", user=user_id)

    def on_rejoined(self, user_id: str, attachment: Attachment) -> None:
        tell("rejoined", user=user_id, arrived=attachment.arrived)

    def on_home_lost(self, home: Home) -> None:
        tell("home_lost", user=home.user_id, token=home.token)

    def on_orphan(self, user_id: str) -> None:
        tell("orphan", user=user_id)


async def main(url: str, prefix: str, grace_ms: str) -> None:
    engine = ValkeyEngine(
        url,
        int(grace_ms),
        BacklogSettings(),
        Metrics(),
        structlog.wrap_logger(structlog.PrintLogger(sys.stderr)),
        prefix=prefix,
    )
    await engine.start(Teller())
    tell("started", node=engine.node_id)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        try:
            if name == "attach":
                tell("attached", generation=(await engine.attach(*arguments)).generation)
            elif name == "detach":
                tell("detached", left=await engine.detach(*arguments, Cause.CLOSED))
            elif name == "publish":
                user, data = arguments
                tell("published", id=str(await engine.publish(user, Event("note", data))))
            elif name == "claim_home":
                home = await engine.claim_home(*arguments)
                tell("home", node=home.node_id, token=home.token)
            elif name == "name":
                tell("name", node=engine.node_id)
        except UnavailableError:
            tell("unavailable")
    await engine.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
