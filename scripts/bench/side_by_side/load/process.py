"""The load generator as the run sees it: a process of its own that does what it is told."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

_LONGEST_ANSWER = 1 << 24
CHECKOUT = Path(__file__).resolve().parents[4]


class LoadError(Exception):
    """The generator could not do what it was told; the message says why."""


class Load:
    """Starts the generator for the length of a block.

    Args:
        cpus: The processors that it may use.
        users_file: The users and their tokens, as `write_users` writes them.
    """

    def __init__(self, cpus: set[int], users_file: Path) -> None:
        self._cpus = cpus
        self._users_file = users_file
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Load:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scripts.bench.side_by_side.load.generator",
            str(self._users_file),
            cwd=CHECKOUT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_ANSWER,
        )
        os.sched_setaffinity(self._process.pid, self._cpus)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Has one thing done, and waits for what came of it.

        Raises:
            LoadError: It was not done.
        """
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"what": what, "arguments": arguments}).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise LoadError(f"the generator ended while it should {what}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadError(f"{what}: {answer['error']}")
        return answer
