"""Taking back what was written in vain."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from .disk import Disk, Handle
from .recovery import OpenFile


class TakenBack:
    """On a failure within it, closes the file and has it cut back to what is known to be whole.

    A class and no generator: each append goes through two.

    Args:
        disk: The system calls.
        handle: The file, open for appending.
        file: What is known of it; marked as suspect.
        repair: Cuts it. Where that fails, it stays suspect and is cut before its next use.
    """

    __slots__ = ("_disk", "_file", "_handle", "_repair")

    def __init__(
        self, disk: Disk, handle: Handle, file: OpenFile, repair: Callable[[OpenFile], None]
    ) -> None:
        self._disk = disk
        self._handle = handle
        self._file = file
        self._repair = repair

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            with suppress(OSError):
                self._disk.close(self._handle)
            self._file.suspect = True
            with suppress(OSError):
                self._repair(self._file)
