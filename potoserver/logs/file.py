"""The log file: appended to, rotated by size, followed when someone else rotates it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


class RotatingFile:
    """A file of lines: `server.log`, and behind it `server.log.1` (the newest) to `server.log.<backups>`.

    Used by one thread. Files are made 0600, the folder 0700 where it is missing.

    Args:
        path: The file.
        max_bytes: A line that would take the file beyond this begins a new one.
        backups: How many earlier files are kept.
    """

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._descriptor: int | None = None
        self._torn: tuple[int, int, int] | None = None
        """A failed write could not be taken back: cut the file of this device and inode to this size."""

    def _call(self, name: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Makes one system call; the one place to override for fault injection. `name` says what it does."""
        return function(*arguments)

    def open(self) -> None:
        """Opens the file where it isn't open.

        Raises:
            OSError: The folder or the file can't be made.
        """
        if self._descriptor is not None:
            return
        self._call("make_folder", _make_folder, self._path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor: int = self._call("open", os.open, self._path, flags, 0o600)
        try:
            self._cut_torn(descriptor)
            self._end_torn_line(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def close(self) -> None:
        """Closes the file; the next write opens it again. Idempotent."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):  # the number is given back all the same, and nothing else is left to do
                self._call("close", os.close, descriptor)

    def write(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Appends whole lines.

        Returns:
            How many of the lines are in the file, and what kept the others out. No part of those stays
            behind, and the next write begins anew.
        """
        kept = 0
        try:
            while kept < len(lines):
                kept += self._write_some(lines[kept:])
        except OSError as error:
            self.close()
            return kept, error
        return kept, None

    def _write_some(self, lines: Sequence[bytes]) -> int:
        """Writes as many lines as the current file takes, at least one. Returns how many."""
        descriptor = self._current()
        status = self._status(descriptor)
        if status.st_size and status.st_size + len(lines[0]) > self._max_bytes:
            self._rotate()
            descriptor = self._current()
            status = self._status(descriptor)
        size = status.st_size
        count, length = 1, len(lines[0])
        while count < len(lines) and size + length + len(lines[count]) <= self._max_bytes:
            length += len(lines[count])
            count += 1
        rest = memoryview(b"".join(lines[:count]))
        try:
            while rest:
                rest = rest[self._call("write", os.write, descriptor, rest) :]
        except OSError:
            self._torn = (status.st_dev, status.st_ino, size)
            with suppress(OSError):
                self._cut_torn(descriptor)
            raise
        return count

    def _cut_torn(self, descriptor: int) -> None:
        """Takes back what a failed write has left, where this is still its file."""
        if self._torn is None:
            return
        *file, size = self._torn
        status = self._status(descriptor)
        if file == [status.st_dev, status.st_ino] and status.st_size > size:
            self._call("truncate", os.ftruncate, descriptor, size)
        self._torn = None

    def _current(self) -> int:
        """The descriptor of what is at the path now: after an outside rotation that is another file."""
        if self._descriptor is not None:
            mine = self._status(self._descriptor)
            try:
                there = self._call("find", os.stat, self._path)
            except FileNotFoundError:
                self.close()
            else:
                if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                    self.close()
        self.open()
        assert self._descriptor is not None
        return self._descriptor

    def _rotate(self) -> None:
        """Moves the files on by one, and closes this one. Where that can't be done the file grows."""
        names = [self._path, *(Path(f"{self._path}.{i}") for i in range(1, self._backups + 1))]
        with suppress(OSError):
            # Up to a free name: one that a failed rotation has left free must not cost the oldest file.
            last = 1
            while last < self._backups and self._call("find", os.path.lexists, names[last]):
                last += 1
            for number in range(last, 0, -1):
                self._call("rename", os.replace, names[number - 1], names[number])
        self.close()

    def _status(self, descriptor: int) -> os.stat_result:
        result: os.stat_result = self._call("status", os.fstat, descriptor)
        return result

    def _end_torn_line(self, descriptor: int) -> None:
        """Ends a line that a crash has torn, so that the next one is whole."""
        status = self._status(descriptor)
        written = status.st_size if stat.S_ISREG(status.st_mode) else 0
        if written and self._call("read", os.pread, descriptor, 1, written - 1) != b"\n":
            self._call("write", os.write, descriptor, b"\n")


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
