"""A plain loop that archives dialogs: the writes, flushes and renames of the journal, and no more.

Beside it, in the same process, the bare handler of chat calls that keeps their messages.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from scripts.bench.side_by_side.peers import bare
from scripts.bench.side_by_side.peers.base import PythonPeer

_THREADS = 4
"""As the journal's (modules/chat_server/journal/filesystem.py)."""
_FOOTER = b'ended: "2024-01-15T10:30:00.000Z"\nreason: "disconnect"\nmessage_count: 2\n'
_DIALOG = b"messages:\n" + b'- role: "user"\n  content: "as long as another one"\n' * 8


class PlainPeer(PythonPeer):
    """Has open dialogs of as many users as it is told, and archives them when it is told."""

    name: ClassVar[str] = "plain loop"
    module: ClassVar[str] = __name__


def _make(users: list[Path]) -> None:
    Path("open").mkdir()
    for user in users:
        archived = user / "dialogs" / "archived"
        archived.mkdir(parents=True)
        (user / "dialogs" / "current.yaml").write_bytes(_DIALOG)
        (Path("open") / user.name).touch()
    os.sync()


def _archive(user: Path) -> None:
    """What is done for one: see `UserDialogs` and `Recovery.clear` of the journal."""
    dialogs = user / "dialogs"
    current, archived = dialogs / "current.yaml", dialogs / "archived"
    file = os.open(current, os.O_WRONLY | os.O_APPEND)
    os.write(file, _FOOTER)
    os.fdatasync(file)
    os.close(file)
    current.rename(archived / "2024-01-15-10-30-00.yaml")
    _flush_folder(archived)
    os.close(os.open(current, os.O_WRONLY | os.O_CREAT, 0o600))
    _flush_folder(dialogs)
    (Path("open") / user.name).unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def app_of() -> web.Application:
    users: list[Path] = []

    async def make(request: web.Request) -> web.Response:
        users.extend(Path("users") / f"u{number}" for number in range((await request.json())["count"]))
        await asyncio.to_thread(_make, users)
        return web.Response()

    async def archive(_request: web.Request) -> web.Response:
        with ThreadPoolExecutor(_THREADS) as pool:
            await asyncio.to_thread(lambda: list(pool.map(_archive, users)))
        return web.Response()

    app = bare.app_of(bare.Appends(Path()))
    app.router.add_post("/make", make)
    app.router.add_post("/archive", archive)
    return app


if __name__ == "__main__":
    web.run_app(app_of(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
