"""curl as a person runs it: on a terminal, ended with Ctrl+C."""

from __future__ import annotations

import asyncio
import os
import pty
import shlex
import signal
import time

LIMIT_S = 20.0


class Curl:
    """One curl process whose output goes to a terminal, so that it is not held back in a buffer.

    Args:
        command: The command line, as in a shell.
    """

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Condition()
        self._ended = False
        self.output = ""

    async def __aenter__(self) -> Curl:
        master, terminal = pty.openpty()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                preexec_fn=_heed_interrupts,
            )
        finally:
            os.close(terminal)
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", buffering=0)
        )
        self._task = asyncio.create_task(self._run(reader, transport))
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process is not None
        assert self._task is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await asyncio.wait([self._task])

    async def _run(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        try:
            while data := await reader.read(65536):
                async with self._more:
                    self.output += data.decode(errors="replace").replace("\r\n", "\n")
                    self._more.notify_all()
        except OSError:
            pass  # the terminal's last user has gone
        finally:
            transport.close()
            async with self._more:
                self._ended = True
                self._more.notify_all()

    async def until(self, text: str, count: int = 1) -> float:
        """Waits until the output holds a text so many times; returns when that was, in wall seconds."""
        async with asyncio.timeout(LIMIT_S), self._more:
            while self.output.count(text) < count:
                assert not self._ended, f"curl ended without {text!r}:\n{self.output}"
                await self._more.wait()
            return time.time()

    async def interrupt(self) -> float:
        """Ctrl+C; returns when it was pressed, in wall seconds."""
        assert self._process is not None
        pressed_s = time.time()
        self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(LIMIT_S):
            await self._process.wait()
        return pressed_s


async def curl(command: str) -> str:
    """Runs a curl command to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def _heed_interrupts() -> None:
    """A shell's background job, and so all that it starts, ignores Ctrl+C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
