"""A server under test, as the run sees it: started, asked to send, ended."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from scripts.bench.side_by_side.commands import Command
from scripts.bench.side_by_side.load.calls import post
from scripts.bench.side_by_side.load.process import CHECKOUT

START_LIMIT_S = 60.0
_LOOK_S = 0.02


class Peer(ABC):
    """One server under test: a process of its own, on a processor of its own.

    Attributes:
        name: What it is called in the tables.
        path: Where a stream is had; `{user}` where the user's id goes.
        first: What tells that a stream is open.
        needs: Which package it needs; None for one that is always there.
        beats: Whether it sends heartbeats.
        beat_path: What is posted to for it to begin with them; "" where it sends them anyhow.
        paced: Whether it can be told how long to wait between two events.
        tells_ends: Whether it tells when it has noticed that a connection has ended.
    """

    name: ClassVar[str]
    path: ClassVar[str] = "/subscribe?user={user}"
    first: ClassVar[str] = "event: connected"
    needs: ClassVar[str | None] = None
    beats: ClassVar[bool] = False
    beat_path: ClassVar[str] = ""
    paced: ClassVar[bool] = True
    tells_ends: ClassVar[bool] = False

    def __init__(self, folder: Path, cpus: set[int], settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.settings = settings
        self.port = _free_port()
        self._cpus = cpus
        self._process: asyncio.subprocess.Process | None = None
        self.launched_s = 0.0
        """When the process was started: monotonic time."""

    @classmethod
    def missing(cls) -> str | None:
        """Why it can't run here; None when it can."""
        return None if cls.needs is None or find_spec(cls.needs) else f"{cls.needs} is not installed"

    @abstractmethod
    def command_line(self) -> list[str]:
        """How it is started; it serves on `port`."""

    @abstractmethod
    def requests(self, command: Command, token: str) -> list[str]:
        """The requests by which it is told to send."""

    def ends_ms(self) -> dict[str, float]:
        """When it noticed the ends of users' connections that it has told of so far: wall time in ms."""
        return {}

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        assert self._process is not None
        return [self._process.pid]

    async def __aenter__(self) -> Peer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.launched_s = time.monotonic()
        with (self.folder / "output").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command_line(),
                cwd=self.folder,
                env={name: text for name, text in os.environ.items() if not name.startswith("POTO_")}
                | {"PYTHONPATH": str(CHECKOUT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=self._settle,
            )
        try:
            await self._until_serving()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._end()

    def _settle(self) -> None:
        """In the child, before it becomes the server."""
        os.sched_setaffinity(0, self._cpus)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def _until_serving(self) -> None:
        assert self._process is not None
        until_s = time.monotonic() + START_LIMIT_S
        while self._process.returncode is None and time.monotonic() < until_s:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(_LOOK_S)
            else:
                writer.close()
                return
        raise RuntimeError(f"{self.name} did not start:\n{(self.folder / 'output').read_text()}")

    async def _end(self) -> None:
        """Kills it: an orderly end takes some servers as long as their limit allows."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.kill()
        await process.wait()


class PythonPeer(Peer):
    """A server in Python beside this one's: `python -m <module> PORT` serves."""

    module: ClassVar[str]

    def command_line(self) -> list[str]:
        return [sys.executable, "-m", self.module, str(self.port)]

    def requests(self, command: Command, token: str) -> list[str]:
        return [post(self.port, "/command", json.dumps(command.fields()), token)]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
