"""The log file: appended to, rotated by size, followed when someone else rotates it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path


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

    def open(self) -> None:
        """Opens the file where it isn't open.

        Raises:
            OSError: The folder or the file can't be made.
        """
        if self._descriptor is not None:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            self._end_torn_line(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def close(self) -> None:
        """Closes the file; the next write opens it again. Idempotent."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

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
        size = os.fstat(descriptor).st_size
        if size and size + len(lines[0]) > self._max_bytes and self._rotate():
            descriptor = self._current()
            size = os.fstat(descriptor).st_size
        count, length = 1, len(lines[0])
        while count < len(lines) and size + length + len(lines[count]) <= self._max_bytes:
            length += len(lines[count])
            count += 1
        rest = memoryview(b"".join(lines[:count]))
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            if len(rest) < length:
                os.ftruncate(descriptor, size)
            raise
        return count

    def _current(self) -> int:
        """The descriptor of what is at the path now: after an outside rotation that is another file."""
        if self._descriptor is not None:
            mine = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                self.close()
            else:
                if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                    self.close()
        self.open()
        assert self._descriptor is not None
        return self._descriptor

    def _rotate(self) -> bool:
        """Moves the files on by one. Returns False where that can't be done: the file then grows."""
        names = [self._path, *(Path(f"{self._path}.{i}") for i in range(1, self._backups + 1))]
        try:
            for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                if newer.exists():
                    newer.replace(older)
        except OSError:
            return False
        self.close()
        return True

    @staticmethod
    def _end_torn_line(descriptor: int) -> None:
        """Ends a line that a crash or a full disk has torn, so that the next one is whole."""
        status = os.fstat(descriptor)
        written = status.st_size if stat.S_ISREG(status.st_mode) else 0
        if written and os.pread(descriptor, 1, written - 1) != b"\n":
            os.write(descriptor, b"\n")
