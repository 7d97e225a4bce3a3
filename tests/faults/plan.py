"""A plan of faults in a file: a test changes it while the server that meets them runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from typing_extensions import override

from tests.faults.disk import Fault, Faults


class FaultPlan:
    """The test's side of a plan.

    Args:
        folder: Where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faults.json"
        self._reached = folder / "faults.json.reached"
        self.set()

    @property
    def environment(self) -> dict[str, str]:
        """What the server's environment needs, beside the module `tests.process.rogues:FaultyDisks`."""
        return {"FAULT_PLAN": str(self._file)}

    def set(self, *faults: Fault) -> None:
        """Another plan, in force from the server's next call on; it counts calls from there."""
        self._reached.write_text("")
        # Put in place whole, and always another file: the server looks whether it is.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([asdict(fault) for fault in faults]))
        new.replace(self._file)

    @property
    def reached(self) -> Sequence[str]:
        """The calls that were reached and are held, or were to end the process: `name how path`."""
        return self._reached.read_text().splitlines()

    async def until_reached(self, count: int) -> None:
        """Waits until so many of them are reached."""
        async with asyncio.timeout(20):
            while len(self.reached) < count:
                await asyncio.sleep(0.005)


class PlannedFaults(Faults):
    """The server's side: follows the file, and ends with SIGKILL.

    Args:
        file: The plan's.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        super().__init__()

    @override
    def _look(self) -> None:
        found = os.stat(self._file)
        if self._seen != (found.st_ino, found.st_mtime_ns):
            self._seen = (found.st_ino, found.st_mtime_ns)
            self._replace(tuple(Fault(**each) for each in json.loads(self._file.read_bytes())))

    @override
    def _note(self, where: str) -> None:
        with self._file.with_name(f"{self._file.name}.reached").open("a") as file:
            file.write(f"{where}\n")

    @override
    def _end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
