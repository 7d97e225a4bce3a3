"""Nodes as processes of their own, on one folder, stopped or killed at a system call of the journal.

`python -m tests.faults.fenced_node` reads a job on each line and forks for it, so that a node costs no start
of Python. What the node has been answered, and how it ended, comes back on lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modules.chat_server.journal import JournalError, Reason
from tests.faults.disk import Fault, FaultyDisk, How
from tests.journal.support import FIRST, SECOND, USER, make_journal, message
from tests.support.process import CHECKOUT

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a node does.

    Attributes:
        data: The folder.
        token: With which it takes the user.
        steps: `add N`, `other N` (of another conversation), `archive`, `restore ID`, `title ID`.
        signal: What it sends itself at the call.
        call: The name of the call; empty for all.
        path: What the call is about.
        at: Which of these calls, counted from when the user was taken; 0 for none.
        how: Before the call, half-way or after it.
    """

    data: str
    token: int
    steps: list[str] = field(default_factory=list)
    signal: int = signal.SIGKILL
    call: str = ""
    path: str = "*"
    at: int = 0
    how: How = "after"


class NodeProcess:
    """The process that forks; its nodes come one after the other."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self.kept: list[str] = []

    async def begin(self, job: Job) -> None:
        """Starts a node."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")

    async def next(self, event: str) -> Any:
        """What the next line of that name says; `kept` notes on the way what was acknowledged."""
        assert self._process is not None and self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            async for line in self._process.stdout:
                told: dict[str, Any] = json.loads(line)
                if "kept" in told:
                    self.kept.append(told["kept"])
                if event in told:
                    return told[event]
        raise EOFError(f"the node has ended, {self.kept} were kept")

    async def run(self, job: Job) -> tuple[list[str], int]:
        """A node from its start to its end: what was acknowledged, and the signal that killed it, or 0."""
        self.kept = []
        await self.begin(job)
        return self.kept, await self.next("ended")


@asynccontextmanager
async def node_process() -> AsyncIterator[NodeProcess]:
    """A process for nodes, and none of them left at the end."""
    node = NodeProcess()
    node._process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.fenced_node"),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield node
    finally:
        os.killpg(node._process.pid, signal.SIGKILL)
        await node._process.communicate()


class _SignallingDisk(FaultyDisk):
    """Sends this process a signal where the plan ends it; one that goes on does so behind the call."""

    def __init__(self, number: int) -> None:
        super().__init__()

        def end() -> None:
            # To this very thread: one for the process is taken by any, and this one would go on meanwhile.
            signal.pthread_kill(threading.get_ident(), number)

        self.faults._end = end  # type: ignore[method-assign]  # the process's own end, not a pretended one


async def _live(job: Job) -> None:
    disk = _SignallingDisk(job.signal)
    journal = make_journal(Path(job.data), shared=True, disk=disk)
    await journal.start()
    await journal.take(USER, job.token)
    if job.at:
        disk.faults.set(Fault(job.call, job.path, at=job.at, how=job.how, stop=True))
    for step in job.steps:
        name, _, argument = step.partition(" ")
        try:
            if name in ("add", "other"):
                conversation = FIRST if name == "add" else SECOND
                kept = (await journal.add_message(USER, message(int(argument)), conversation)).id
            elif name == "archive":
                kept = str(await journal.archive_conversation(USER, reason=Reason.DISCONNECT))
            elif name == "restore":
                await journal.restore_archive(USER, argument)
                kept = f"restored {argument}"
            else:
                await journal.rename_archive(USER, argument, "Trees")
                kept = f"titled {argument}"
        except JournalError as error:
            kept = type(error).__name__
        _tell("kept", kept)
    await journal.close()


def _tell(name: str, what: object) -> None:
    os.write(sys.stdout.fileno(), json.dumps({name: what}).encode() + b"\n")


def _serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                asyncio.run(_live(Job(**json.loads(line))))
                status = 0
            finally:
                os._exit(status)
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            _tell("stopped", pid)
        _tell("ended", os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))


if __name__ == "__main__":
    _serve()
