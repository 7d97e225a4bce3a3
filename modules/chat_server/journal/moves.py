"""A dialog's file on its way between `current.yaml` and the archives. Blocking; one thread at a time."""

from __future__ import annotations

import errno
import stat
from itertools import chain
from pathlib import Path
from typing import Final

from .layout import UserPaths, archive_order, second_name, with_suffix
from .order import Place
from .records import Dialog
from .recovery import OpenFile
from .rewriting import write_anew
from .tools import Tools

_MOST_SUFFIXES: Final = 1_000_000


class Moves:
    """Renames one user's dialogs: there is one copy at every moment.

    Args:
        user_id: Whose.
        paths: The user's files.
        tools: What all users share.
    """

    def __init__(self, user_id: str, paths: UserPaths, tools: Tools) -> None:
        self._user_id = user_id
        self._paths = paths
        self._tools = tools
        self._disk = tools.disk

    def to_archive(self, file: OpenFile, place: Place) -> bool:
        """Gives the file its archive's name, unless an earlier try did; False when it is gone."""
        paths = self._paths
        tried = paths.archived / f"{file.archive_id}.yaml" if file.archive_id else None
        there = self._disk.find(tried) if tried else None
        if there is not None and there.st_ino == file.inode:
            return True
        file.archive_id, target = self._free_archive(file, place)
        try:
            self._disk.rename(paths.current, target)
        except FileNotFoundError:
            if self._disk.find(paths.current) is None:
                self._tools.recovery_log.warning(
                    "open dialog is gone", user=self._user_id, conversation=file.conversation.id
                )
                return False
            self._disk.make_folder(paths.archived)
            self._disk.rename(paths.current, target)
        self._tools.order.took(self._user_id, paths, file.archive_id, place)
        self._tools.archive_log.debug(
            "dialog renamed",
            user=self._user_id,
            conversation=file.conversation.id,
            archive=file.archive_id,
        )
        return True

    def _free_archive(self, file: OpenFile, place: Place) -> tuple[str, Path]:
        name = second_name(place.ended_ms)
        old = archive_order(file.archive_id) if file.archive_id else None
        first = [old[1]] if old is not None and old[0] == name else []
        for number in chain(first, range(place.number, _MOST_SUFFIXES)):
            archive_id = with_suffix(name, number)
            path = self._paths.archived / f"{archive_id}.yaml"
            taken = self._tools.former.is_of_another(self._user_id, archive_id, file.conversation.id)
            if not taken and self._disk.find(path) is None:
                return archive_id, path
        raise FileExistsError(name)

    def from_archive(self, archive_id: str, data: bytes, dialog: Dialog, size: int) -> OpenFile:
        """Marker, rename, flush of both folders, then the end is cut off; until that recovery undoes it."""
        paths, disk = self._paths, self._disk
        found = disk.find(paths.current)
        if found is not None and (found.st_size or not stat.S_ISREG(found.st_mode)):
            raise FileExistsError(errno.EEXIST, "somebody put a dialog here", str(paths.current))
        self._tools.recovery.mark(paths, restoring=archive_id)
        path = paths.archived / f"{archive_id}.yaml"
        there = disk.find(path)
        if there is not None and there.st_nlink > 1:
            write_anew(disk, paths, path, data)  # what is cut and grows must not be somebody's backup
        disk.rename(path, paths.current)
        disk.sync_folder(paths.dialogs)
        disk.sync_folder(paths.archived)
        handle = disk.open(paths.current)
        with disk.closed_on_error(handle):
            inode = disk.status(handle).st_ino
            disk.truncate(handle, size)
            self._tools.flush_and_close(handle)
        self._tools.archive_log.info(
            "archive restored",
            user=self._user_id,
            archive=archive_id,
            conversation=dialog.conversation.id,
            messages=len(dialog.messages),
        )
        return OpenFile.of(dialog, size, inode)
