"""Puts other bytes into a file's place. Blocking."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

from .disk import Disk
from .layout import UserPaths


def write_anew(disk: Disk, paths: UserPaths, path: Path, data: bytes) -> None:
    """Gives one of a user's archives other bytes: at once, with the same permissions, durable then.

    Other names that the file has, in a backup made of hard links for one, keep what it held.

    Raises:
        OSError: The disk refused; the file holds the one or the other.
    """
    before = disk.find(path)
    disk.remove(paths.anew)  # a crash may have left it
    handle = disk.open(paths.anew, exclusive=True)
    try:
        try:
            if before is not None:
                disk.set_mode(handle, stat.S_IMODE(before.st_mode))
            disk.write_all(handle, data)
            disk.flush(handle)
        finally:
            disk.close(handle)
        disk.rename(paths.anew, path)
    except OSError:
        with suppress(OSError):
            disk.remove(paths.anew)
        raise
    disk.sync_folder(paths.archived)
