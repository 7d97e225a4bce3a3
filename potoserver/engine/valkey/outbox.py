"""What is sent to channels goes out in order: one batch after the other, on one connection at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from potoserver.engine.valkey.keys import Keys
from potoserver.engine.valkey.link import Link, away, end
from potoserver.engine.valkey.scripts import Call, script

_BATCH: Final = 64
_BATCH_BYTES: Final = 4 * 1024 * 1024
_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What may wait to be sent; beyond that nothing more is taken."""


class Outbox:
    """Sends payloads to channels, each at most once.

    Args:
        link: The way to Valkey.
        keys: The names there.
    """

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._waiting: deque[tuple[Call, int, asyncio.Future[None]]] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def send(self, channel: str, payload: bytes) -> None:
        """Sends; returns when Valkey has it.

        Raises:
            UnavailableError: It was not sent, or it is not known whether it was; or too much waits.
        """
        if self._waiting_bytes + len(payload) > _WAITING_BYTES:
            raise away()
        call = script("send").of_route(self._keys.route(channel), channel=channel, payload=payload)
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, len(payload), sent))
        self._waiting_bytes += len(payload)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="engine outbox")
        await sent

    async def _run(self) -> None:
        while self._waiting:
            batch: list[tuple[Call, int, asyncio.Future[None]]] = []
            size = 0
            while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += batch[-1][1]
            self._waiting_bytes -= size
            problem: BaseException | None = None
            try:
                await self._link.run_all([call for call, _, _ in batch])
            except BaseException as error:  # noqa: BLE001 - told to each who waits
                problem = error
            for _, _, sent in batch:
                if sent.done():
                    continue
                if problem is None:
                    sent.set_result(None)
                else:
                    sent.set_exception(away())
            if isinstance(problem, asyncio.CancelledError):
                raise problem

    async def stop(self) -> None:
        """Sends no more; who waits is told so."""
        await end([self._task])
        for _, _, sent in self._waiting:
            if not sent.done():
                sent.set_exception(away())
        self._waiting.clear()
