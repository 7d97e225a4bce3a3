"""A machine's wall time that is stepped, stopped and started: also while a real server runs on it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from typing_extensions import override

from potoserver import ServerModule, SystemClock
from tests.support.process import patient

CLOCK_FILE = "FAULT_CLOCK"
"""The environment variable that names the file."""


class MachineClock:
    """The wall time that a server with `SteppedWallTime` goes by; nothing else of the machine is moved.

    Args:
        file: Where it is told from one process to the other.
    """

    modules = patient("tests.faults.clock:SteppedWallTime", "chat_server")
    """For `POTO_MODULES`: before the chat, so that no stamp is given out before it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset_ms = 0
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What the server is started with."""
        return {"POTO_MODULES": self.modules, CLOCK_FILE: str(self._file)}

    def now_ms(self) -> int:
        """What it shows while it runs."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def step(self, by_ms: int) -> None:
        """Steps it, and has it run again if it stood still."""
        self._offset_ms += by_ms
        self._tell({"offset_ms": self._offset_ms})

    def set(self, at_ms: int) -> None:
        """Has it show that time now."""
        self.step(at_ms - self.now_ms())

    def stop(self) -> None:
        """Has it stand still; `step` restarts it, at the time that it would show if it had not stood."""
        self._tell({"stopped_at_ms": self.now_ms()})

    def _tell(self, state: dict[str, int]) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(state))
        written.replace(self._file)  # no reader finds half of it


class SteppedWallTime(ServerModule):
    """Has `SystemClock` show what a `MachineClock` of another process says."""

    def __init__(self) -> None:
        file = Path(os.environ[CLOCK_FILE])

        def wall_ms(_: SystemClock) -> int:
            state = json.loads(file.read_text())
            if "stopped_at_ms" in state:
                return int(state["stopped_at_ms"])
            return time.time_ns() // 1_000_000 + int(state["offset_ms"])

        setattr(SystemClock, "wall_ms", wall_ms)  # noqa: B010 - a type checker would refuse the assignment

    @override
    async def on_start(self) -> None:
        self.context.logger().info("wall time is led", shows_ms=self.context.clock.wall_ms())
