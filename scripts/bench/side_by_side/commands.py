"""What the servers are told to send: the same in each, so that only the sending differs.

Every event holds `MARK` once, which nothing else that is sent holds: so the load counts events by counting a
byte. It also holds when it was made, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MARK = "~"
EVENT = "bench"


@dataclass(frozen=True)
class Command:
    """What is to be sent.

    Attributes:
        users: To whom in turn, one event each time; to all if empty.
        times: How many events.
        size: How many bytes of filling an event has.
        pause_ms: Between two events.
    """

    users: tuple[str, ...]
    times: int
    size: int
    pause_ms: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Command:
        """From a request's body."""
        return cls(tuple(fields["users"]), fields["times"], fields["size"], fields["pauseMs"])

    def fields(self) -> dict[str, Any]:
        """As a request's body."""
        return {"users": self.users, "times": self.times, "size": self.size, "pauseMs": self.pause_ms}


class Audience(Protocol):
    """Whoever has a stream open."""

    async def tell(self, user_id: str, data: dict[str, Any]) -> None:
        """Sends an event to the connections of one user."""

    async def tell_all(self, data: dict[str, Any]) -> None:
        """Sends an event to everyone."""


async def obey(command: Command, audience: Audience) -> int:
    """Sends what is asked; returns how often."""
    filling = "x" * command.size
    for number in range(command.times):
        data = {"mark": MARK, "at": time.monotonic_ns(), "filling": filling}
        if command.users:
            await audience.tell(command.users[number % len(command.users)], data)
        else:
            await audience.tell_all(data)
        # Also without a pause everyone else gets a turn: where tasks send, they send now.
        await asyncio.sleep(command.pause_ms / 1000)
    return command.times


def frame_of(data: dict[str, Any]) -> bytes:
    """An event as it is on the wire."""
    return f"event: {EVENT}\ndata: {text_of(data)}\n\n".encode()


def text_of(data: dict[str, Any]) -> str:
    """An event's data."""
    return json.dumps(data, separators=(",", ":"))
