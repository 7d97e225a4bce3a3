"""Files that are locked, kept open for the next time; bounded. Called on threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .disk import Disk, Handle


@dataclass(frozen=True, slots=True)
class LockFile:
    """An open file that is locked.

    Attributes:
        handle: Open for reading and writing.
        identity: Device and inode; tells whether another file was put in its place.
    """

    handle: Handle
    identity: tuple[int, int]


class LockFiles:
    """Keeps files that nobody has locked open: on a network's file system opening costs a round trip.

    One that is in use is its user's alone, and not among them: there are as many of those as appends on
    their way, each bounded by its batch.

    Args:
        disk: The system calls.
        limit: How many are kept; the one used least lately is closed.
    """

    def __init__(self, disk: Disk, limit: int = 256) -> None:
        self._disk = disk
        self._limit = limit
        self._files: OrderedDict[Path, LockFile] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, path: Path) -> LockFile | None:
        """Gives a file that is kept open to who uses it from now on; None where none is."""
        with self._lock:
            return self._files.pop(path, None)

    def open(self, path: Path) -> LockFile:
        """Opens a file, which is made if it is not there.

        Raises:
            OSError: It can't be, or something else is in its place.
        """
        handle = self._disk.open_lock(path)
        with self._disk.closed_on_error(handle):
            found = self._disk.status(handle)
        return LockFile(handle, (found.st_dev, found.st_ino))

    def keep(self, path: Path, file: LockFile) -> None:
        """Takes back a file that is not locked any more."""
        with self._lock:
            self._files[path] = file
            oldest = self._files.popitem(last=False)[1] if len(self._files) > self._limit else None
        if oldest is not None:
            self.discard(oldest)

    def drop(self, path: Path) -> None:
        """Closes a file that is kept; harmless where none is."""
        file = self.take(path)
        if file is not None:
            self.discard(file)

    def close(self) -> None:
        """Closes all that are kept."""
        with self._lock:
            files = list(self._files.values())
            self._files.clear()
        for file in files:
            self.discard(file)

    def discard(self, file: LockFile) -> None:
        """Closes a file that was taken or opened; the kernel gives the lock back, if it has one."""
        with suppress(OSError):
            self._disk.close(file.handle)
