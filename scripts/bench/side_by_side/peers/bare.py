"""A bare aiohttp handler that answers chat calls: it parses the JSON, and where asked keeps both messages."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from scripts.bench.side_by_side.peers.base import PythonPeer

CHAT = "/ChatServerModule/chatWithHistory"
_THREADS = 4
_BATCH = 32
"""As the journal of this server groups appends (modules/chat_server/journal/batches.py)."""


class BarePeer(PythonPeer):
    """No user, no limit, no session, no log: what is left is HTTP, JSON, and the disk."""

    name: ClassVar[str] = "bare aiohttp"
    module: ClassVar[str] = __name__

    def command_line(self) -> list[str]:
        return [*super().command_line(), "keep" if self.settings["chat"] == FLUSHED else "answer"]


FLUSHED = {"journal": {"fsync": "always"}}
"""The chat's settings under which this one keeps messages, too."""


class Appends:
    """Appends to the files of many users, written and flushed together by a few threads.

    Args:
        folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(_THREADS)
        self._waiting: deque[tuple[int, bytes, asyncio.Future[None]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def append(self, user: str, data: bytes) -> None:
        file = self._files.get(user)
        if file is None:
            path = self._folder / f"{len(self._files)}.yaml"
            file = self._files[user] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((file, data, kept))
        if len(self._workers) < _THREADS:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        await kept

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            await loop.run_in_executor(self._pool, _write, [(file, data) for file, data, _ in batch])
            for _, _, kept in batch:
                kept.set_result(None)


def _write(batch: list[tuple[int, bytes]]) -> None:
    for file, data in batch:
        os.write(file, data)
    for file, _ in batch:
        os.fdatasync(file)


def app_of(appends: Appends | None) -> web.Application:
    async def chat(request: web.Request) -> web.Response:
        message = (await request.json())["message"]
        if appends is not None:
            user = request.headers["Authorization"]
            await appends.append(user, _item("user", message))
            await appends.append(user, _item("assistant", message))
        answer = {
            "conversationId": "sse-1704110400000-abc123def",
            "messageId": "m-0123456789abcdef",
            "reply": message,
            "reasoning": None,
            "finishReason": "stop",
        }
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post(CHAT, chat)
    return app


def _item(role: str, content: Any) -> bytes:
    """As many bytes as a message of a dialog has."""
    return (
        f'- role: "{role}"\n  content: {json.dumps(content)}\n  id: "m-0123456789abcdef"\n'
        '  timestamp: "2024-01-15T10:12:04.001Z"\n'
    ).encode()


if __name__ == "__main__":
    web.run_app(
        app_of(Appends(Path()) if sys.argv[2] == "keep" else None),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        backlog=1024,
    )
