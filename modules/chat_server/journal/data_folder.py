"""The data folder as a whole, which one process owns for its life, or several nodes share. Blocking."""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from pathlib import Path

from .disk import Disk, Handle
from .errors import JournalError
from .layout import Layout


class DataFolder:
    """Takes the folder over and gives it back.

    Args:
        disk: The system calls.
        layout: Where things lie.
        shared: Other nodes have it too.
    """

    def __init__(self, disk: Disk, layout: Layout, *, shared: bool = False) -> None:
        self._disk = disk
        self._layout = layout
        self._shared = shared
        self._lock: Handle | None = None

    def take_over(self) -> list[str]:
        """Makes what is missing of it; the names of the markers of open dialogs.

        Raises:
            JournalError: It can't be used, or somebody has it with whom it can't be shared.
        """
        root = self._layout.root
        try:
            for folder in (*reversed(root.absolute().parents), root):
                if self._disk.find(folder) is None and self._disk.make_folder(folder):
                    self._disk.sync_folder(folder.parent)
            self._lock = self._disk.lock(self._layout.lock, shared=self._shared)
        except BlockingIOError:
            raise JournalError(503, f"The data folder {root} {self._who_has_it()}") from None
        except OSError as error:
            raise JournalError(503, f"The data folder {root} can't be used: {error.strerror}.") from error
        try:
            for folder in (self._layout.open, self._layout.users):
                if not self._disk.make_folder(folder):
                    self._refuse_no_folder(folder)
            self._disk.sync_folder(root)
            return self.left_open()
        except OSError as error:
            with suppress(OSError):
                self._disk.close(self._lock)
            raise JournalError(503, f"The data folder {root} can't be used: {error.strerror}.") from error

    def left_open(self) -> list[str]:
        """The names of the markers of open dialogs.

        Raises:
            OSError: They can't be read.
        """
        return self._disk.names(self._layout.open)

    def _who_has_it(self) -> str:
        if self._shared:
            return (
                "is owned by a potoserver process that does not share it: one on the embedded engine. Stop "
                "that one first."
            )
        try:
            self._disk.close(self._disk.lock(self._layout.lock, shared=True))
        except OSError:
            return "is owned by another potoserver process. Stop that one first."
        return (
            "is shared by the nodes of a cluster, and a server on the embedded engine needs it for itself. "
            "Stop all of them first, or make this server one of them."
        )

    def _refuse_no_folder(self, path: Path) -> None:
        """A link that is followed here would take every user's files out of the data folder."""
        found = self._disk.find(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, f"{path} is no folder, and links in it are not followed")

    def give_back(self) -> None:
        """Another process may have it."""
        if self._lock is not None:
            with suppress(OSError):
                self._disk.close(self._lock)
