"""What the tests of a shared folder have in common: its locks, and what is there to be changed."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modules.chat_server.journal.patience import HELD_PAUSE_S
from tests.journal.support import dialogs_of
from tests.support.clock import ManualClock


def lock_of(data: Path, user: str = "a1") -> Path:
    return dialogs_of(data, user) / ".lock"


def token(number: int) -> bytes:
    return f"{number:020d}\n".encode()


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, and what it holds."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another node is in, and does not go on."""
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(descriptor)


def open_files() -> int:
    gc.collect()  # what an earlier test left goes now, and not in between
    return len(os.listdir("/dev/fd"))


async def waited_out(clock: ManualClock, call: asyncio.Task[object]) -> None:
    """Moves time on until a call has its answer."""
    while not call.done():
        if clock.waited_for:  # else a thread is at it
            await clock.advance(HELD_PAUSE_S)
        await asyncio.wait([call], timeout=0.002)
