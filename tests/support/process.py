"""The real server as a process of its own: `python -m potoserver`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import hold_port
from tests.support.server_folder import ServerFolder

CHECKOUT = Path(__file__).parents[2]
START_LIMIT_S = 30.0
BUSY_S = 3.5
"""What a machine that stands still may add to a time."""
NOBODY_DEPARTS = {"SESSION_RECONNECT_GRACE": "60000"}
"""For a test in which somebody is away for a while, however long the machine makes of it."""
_KEPT_LINES = 50_000
"""Of what a server writes to its terminal; a long run would fill the memory with it."""
_SERVING = re.compile(r"http://[\d.]+:(\d+)")
_OWN_VARIABLES = ("POTO_", "SESSION_")
_OWN_NAMES = {"HOST", "PORT", "DEBUG", "DEBUG_SSE"}
_SLOWING_NAMES = {"PYTHONDONTWRITEBYTECODE"}
"""With it each server of the tests would compile all the sources anew: an eighth of a start."""


def patient(*modules: str) -> str:
    """`POTO_MODULES` of a server that waits long for what these add to `connected`."""
    return json.dumps([*modules, "tests.support.patient:Patient"])


def server_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without a setting of the server or what slows it, with what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OWN_VARIABLES) and name not in _OWN_NAMES | _SLOWING_NAMES
    }
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(CHECKOUT)} | dict(environment or {})


class ServerProcess(ServerFolder):
    """One server, its data and logs in a folder of the test's.

    Args:
        folder: Where it is started, so where its `data` and `logs` are by default; a second server on the
            same folder goes on with the first one's.
        args: Further flags.
        environment: Further environment variables.
        port: Where it listens; 0 takes a free port, None leaves the flag out.
        open_files: Its limit of open files, hard and soft; None for this process's own.
        prefix: The beginning of its command line, where another program is to start it.
        log_folder: The name of the folder of its log.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        environment: Mapping[str, str] | None = None,
        port: int | None = 0,
        open_files: int | None = None,
        prefix: Iterable[str] = (),
        log_folder: str = "logs",
    ) -> None:
        self.log_file = folder / log_folder / "server.log"
        super().__init__(folder, self.log_file)
        self.args = args if log_folder == "logs" else ("--log-dir", log_folder, *args)
        self.environment = dict(environment or {})
        self.port = port or 0
        self.open_files = open_files
        self.prefix = tuple(prefix)
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._port_by_flag = port is not None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._served = asyncio.Event()
        self._port_hold: Callable[[], object] | None = None

    @property
    def output(self) -> str:
        """All that it has written to its terminal."""
        return "".join(self._lines)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    async def launch(self) -> ServerProcess:
        """Starts the process without waiting for it to serve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._served.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self.prefix,
            sys.executable,
            "-m",
            "potoserver",
            *(["--port", str(self.port)] if self._port_by_flag else []),
            *self.args,
            cwd=self.folder,
            env=server_environment(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=self._limit_open_files if self.open_files else None,
        )
        self._reader = asyncio.create_task(self._read_output())
        return self

    def _limit_open_files(self) -> None:
        """In the child, before it becomes the server."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files or 0, self.open_files or 0))

    async def start(self) -> ServerProcess:
        """Starts the process and waits until it serves. A restart keeps its port."""
        await self.launch()
        ended = asyncio.create_task(self.wait())
        served = asyncio.create_task(self._served.wait())
        try:
            await asyncio.wait({ended, served}, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert self._served.is_set(), f"the server did not start:\n{self.output}"
        finally:
            ended.cancel()
            served.cancel()
        return self

    async def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace")
            self._lines.append(line)
            match = _SERVING.search(line)
            if match and not self._served.is_set():
                self.port = int(match[1])
                self._served.set()

    async def until_serving(self) -> None:
        """Waits until it has said where it serves."""
        await self._served.wait()

    async def wait(self, limit_s: float = 60) -> int:
        """Waits for its end; returns the exit status."""
        assert self._process is not None
        async with asyncio.timeout(limit_s):
            status = await self._process.wait()
            assert self._reader is not None
            await asyncio.wait([self._reader])
        if self.port and self._port_hold is None:  # for its next start
            self._port_hold = hold_port(self, self.port)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM, limit_s: float = 60) -> int:
        """Ends it with a signal; returns the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self.wait(limit_s)

    async def __aenter__(self) -> ServerProcess:
        return await self.start()

    async def __aexit__(self, *error: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self.wait()


def tokens_of(users: Iterable[str], admins: Iterable[str] = ()) -> dict[str, str]:
    """The environment that gives each user, and each admin, the token `t-<user>`."""
    tokens: dict[str, Any] = {f"t-{user}": {"user": user} for user in users}
    tokens |= {f"t-{admin}": {"user": admin, "roles": ["user", "admin"]} for admin in admins}
    return {"POTO_AUTH__TOKENS": json.dumps(tokens)}


async def chat(
    session: aiohttp.ClientSession, url: str, message: str, token: str = "test-token", **arguments: Any
) -> dict[str, Any]:
    """Says something and returns the answer; the call must succeed."""
    answer = await session.post(
        f"{url}/ChatServerModule/chatWithHistory",
        json={"message": message, **arguments},
        headers={"Authorization": f"Bearer {token}"},
    )
    body = await answer.json()
    assert answer.status == 200, body
    return dict(body)
