"""Several processes on one address: `--workers N`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from potoserver.lifeline import WORKER_VARIABLE
from potoserver.listen import reserve
from potoserver.logs import Logs
from potoserver.server import StartError
from potoserver.settings import Settings
from potoserver.signals import watch_signals

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
"""How long it takes until a worker that has died is started again: twice as long each time, up to this."""
_SOUND_S = 60.0
"""A worker that has lived for so long was sound: after its death the delay is the first one again."""
_MARGIN_S = 3.0
"""Given to workers beyond `shutdown_timeout_s`, which they keep themselves, before they are killed."""


class Supervisor:
    """Starts workers, starts them again when they die, and ends them.

    The first one is started alone: what keeps it from serving would keep all of them, and is said once.

    Args:
        settings: The core's settings.
        logs: Where log lines go; the caller starts and stops it.
        arguments: The command line of each worker, without the program's name.
    """

    def __init__(self, settings: Settings, logs: Logs, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._logger = logs.get("supervisor")
        self._arguments = tuple(arguments)
        self._workers: dict[int, _Worker] = {}
        self._serving = {number: asyncio.Event() for number in range(1, settings.workers + 1)}
        self._stopping = asyncio.Event()
        self._statuses: list[int] = []
        """Of the workers that have ended since they were told to."""
        self._refused: int | None = None
        """The exit status of a worker that has never served."""

    async def run(self) -> int:
        """Has all workers serve until a signal comes; a second one kills them.

        Returns:
            The exit status: 0 when every worker has ended in order; that of a worker that could not start,
            which has said why; else 1.

        Raises:
            StartError: The address can't be listened on, or a worker was killed before it served.
        """
        watch_signals(self._on_signal)
        host, port = self._settings.host, self._settings.port
        try:
            sockets = reserve(host, port)
        except OSError as error:
            raise StartError(f"can't listen on {host} port {port}: {error.strerror or error}") from error
        try:
            await self._run_all(sockets[0].getsockname()[1])
        finally:
            for sock in sockets:
                sock.close()
        status = self._refused if self._refused is not None else int(any(self._statuses))
        self._logger.info("stopped", in_order=not status)
        if status < 0:
            raise StartError(f"a worker was ended by {_ending(status)} before it served")
        return status

    async def _run_all(self, port: int) -> None:
        keeping = []
        stopping = asyncio.create_task(self._stopping.wait())
        for number, serving in self._serving.items():
            keeping.append(asyncio.create_task(self._keep(number, port), name=f"worker {number}"))
            if number == 1:
                first = asyncio.create_task(serving.wait())
                await asyncio.wait({first, stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
                first.cancel()
                if self._stopping.is_set():
                    break
        await asyncio.wait({stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        # A task that has failed must not leave the other workers behind either.
        self._stop()
        _, late = await asyncio.wait(keeping, timeout=self._settings.shutdown_timeout_s + _MARGIN_S)
        if late:
            self._logger.error("workers do not end", workers=sorted(self._workers))
            self._kill()
        await asyncio.gather(*keeping)

    async def _keep(self, number: int, port: int) -> None:
        """Has one worker run until all stop."""
        loop = asyncio.get_running_loop()
        delay_s = _FIRST_DELAY_S
        while not self._stopping.is_set():
            started_s = loop.time()
            status = await self._run_once(number, port)
            if self._stopping.is_set():
                self._statuses.append(status)
                self._logger.info("worker ended", worker=number, ending=_ending(status))
                return
            if not self._serving[number].is_set():
                self._logger.critical("worker can't start", worker=number, ending=_ending(status))
                self._refused = status or 1
                self._stop()
                return
            if loop.time() - started_s >= _SOUND_S:
                delay_s = _FIRST_DELAY_S
            self._logger.error("worker died", worker=number, ending=_ending(status), again_in_s=delay_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            delay_s = min(_LONGEST_DELAY_S, 2 * delay_s)

    async def _run_once(self, number: int, port: int) -> int:
        """Starts a worker and waits for its end; returns its exit status."""
        try:
            worker = await _Worker.start(number, port, self._arguments)
        except OSError as error:  # no memory or no descriptors, which may pass
            self._logger.warning("worker can't be started", worker=number, error=str(error))
            return 1
        self._workers[number] = worker
        self._logger.info("worker started", worker=number, pid=worker.pid)
        if self._stopping.is_set():
            worker.let_go()
        if await worker.serves():
            self._serving[number].set()
            self._logger.info("worker serves", worker=number, pid=worker.pid, port=port)
        status = await worker.wait()
        del self._workers[number]
        return status

    def _on_signal(self, number: signal.Signals) -> None:
        self._logger.info("signal received", signal=number.name)
        if self._stopping.is_set():
            self._kill()
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            worker.let_go()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.kill()


class _Worker:
    """One process, and the supervisor's end of its lifeline."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.pid = process.pid

    @classmethod
    async def start(cls, number: int, port: int, arguments: Sequence[str]) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "potoserver",
                *arguments,
                "--port",
                str(port),
                stdin=theirs.fileno(),
                env=os.environ | {WORKER_VARIABLE: str(number)},
                # Ctrl+C goes to every process of the terminal's group: the supervisor alone is to get it.
                start_new_session=True,
            )
        return cls(process, *await asyncio.open_connection(sock=ours))

    async def serves(self) -> bool:
        """Waits until it serves; False when it has ended before."""
        try:
            return bool(await self._reader.read(1))
        except OSError:
            return False

    async def wait(self) -> int:
        """Waits for its end; its exit status, or the signal that ended it, below 0."""
        status = await self._process.wait()
        self._writer.close()
        return status

    def let_go(self) -> None:
        """Has it stop in order."""
        self._writer.close()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
