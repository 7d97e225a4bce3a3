"""Puts a user's current dialog in order after a crash, and sets aside what can't be used."""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from structlog.typing import FilteringBoundLogger

from potoserver import Clock

from .batches import Steps, at_once
from .dialog_yaml import MAX_FILE_BYTES
from .disk import Disk
from .layout import UserPaths, archive_order, second_name, with_suffix
from .metrics import JournalMetrics
from .records import Conversation, Dialog, Reason
from .scan import Scan, scan
from .usage import Usage

_MOST_SUFFIXES: Final = 1_000_000


@dataclass(slots=True)
class OpenFile:
    """The dialog that `current.yaml` holds, as far as it is known to be on disk.

    Attributes:
        conversation: Which one.
        size: The file's length in bytes, up to the end of the last part known to be flushed.
        inode: Tells whether another file was put in its place.
        last_ms: No later timestamp stands in it.
        messages: How many it holds.
        reason: Set once a whole footer is flushed.
        ended_ms: Likewise.
        archive_id: The name that was chosen for it, once renaming was tried; or that it had before a restore
            that came to nothing.
        suspect: A failed write could not be taken back; cut the file to `size` before anything else.
    """

    conversation: Conversation
    size: int
    inode: int
    last_ms: int
    messages: int
    reason: Reason | None = None
    ended_ms: int | None = None
    archive_id: str | None = None
    suspect: bool = False

    @classmethod
    def of(cls, dialog: Dialog, size: int, inode: int) -> OpenFile:
        """Describes what was found on disk."""
        stamps = (dialog.conversation.started_ms, *(message.timestamp_ms for message in dialog.messages))
        return cls(
            dialog.conversation,
            size,
            inode,
            max(stamps),
            len(dialog.messages),
            dialog.reason,
            dialog.ended_ms,
        )


class Recovery:
    """Blocking, and idempotent: a failure or a crash half-way leaves what the next try can start from.

    Args:
        disk: The system calls.
        open_folder: Where the markers are.
        clock: Names what is set aside.
        logger: `journal:recovery`.
        metrics: Counts what is found and set aside.
        usage: Told that a user's files are others now.
    """

    def __init__(
        self,
        disk: Disk,
        open_folder: Path,
        clock: Clock,
        logger: FilteringBoundLogger,
        metrics: JournalMetrics,
        usage: Usage,
    ) -> None:
        self._disk = disk
        self._open_folder = open_folder
        self._clock = clock
        self._logger = logger
        self._metrics = metrics
        self._usage = usage
        self._folders: set[Path] = set()

    def refuse_links(self, paths: UserPaths) -> None:
        """Nothing is read or written through a link in the place of one of a user's folders.

        It would lead out of the data folder, or into another user's. Opening a file refuses a link in its own
        place; this is for what stands before it.

        Raises:
            OSError: There is one.
        """
        for folder in (paths.folder, paths.dialogs, paths.archived):
            found = self._disk.find(folder)
            if found is None:
                return
            if stat.S_ISLNK(found.st_mode):
                if folder not in self._folders:
                    self._folders.add(folder)
                    self._logger.error("link in a folder's place", file=str(folder))
                raise OSError(errno.ELOOP, "a link in a folder's place is not followed", str(folder))

    def examine(self, user_id: str, paths: UserPaths) -> OpenFile | None:
        """Looks at `current.yaml`, cuts what is torn, sets aside what is no dialog.

        Returns:
            What is open, perhaps with its footer; None when nothing is.
        """
        is_marked = self._disk.find(paths.marker) is not None
        if is_marked:
            with suppress(OSError):  # a dialog is worth more than the room
                self.remove_half_written(paths)
        found = self._disk.find(paths.current)
        if found is None or (found.st_size == 0 and stat.S_ISREG(found.st_mode)):
            if is_marked:
                at_once(self.clear(paths))
            return None
        if not stat.S_ISREG(found.st_mode):
            self.set_aside(user_id, paths, "unreadable", "it is no ordinary file", found.st_size)
            return None
        if found.st_size > MAX_FILE_BYTES:
            self.set_aside(user_id, paths, "unreadable", "it is larger than any dialog", found.st_size)
            return None
        data = self._disk.read(paths.current, MAX_FILE_BYTES + 1)
        result = scan(data)
        self._logger.debug(
            "open dialog scanned",
            user=user_id,
            bytes=len(data),
            whole_bytes=result.size,
            messages=len(result.dialog.messages) if result.dialog else 0,
            why=result.why,
        )
        if result.dialog is not None and result.dialog.user_id != user_id:
            result = Scan(None, 0, why="it is another user's")
        if result.dialog is None:
            self.set_aside(user_id, paths, "torn" if result.torn else "unreadable", result.why, found.st_size)
            return None
        size = self._mend(user_id, paths, data, result)
        self.mark(paths)
        dialog = OpenFile.of(result.dialog, size, found.st_ino)
        if dialog.reason is not None:
            dialog.archive_id = self._old_name(paths)
        self._metrics.recovered_dialogs.inc()
        self._logger.info(
            "open dialog recovered",
            user=user_id,
            conversation=dialog.conversation.id,
            messages=dialog.messages,
            bytes=size,
            torn_bytes=len(data) - result.size,
            ended=dialog.reason.value if dialog.reason else None,
        )
        return dialog

    def _mend(self, user_id: str, paths: UserPaths, data: bytes, result: Scan) -> int:
        """Sets the torn tail aside, cuts it off, ends the last line; returns the file's new length.

        What is whole is flushed, and its name: a process that was killed may have written it without. Nothing
        may be appended behind it or renamed with it before.
        """
        torn = data[result.size :]
        if torn:
            aside = self._free_name(paths, "torn")
            self._write_new(aside, torn)
        self._disk.sync_folder(paths.dialogs)
        if torn:
            self._report(user_id, aside, len(torn), result.why)
        handle = self._disk.open(paths.current)
        try:
            if torn:
                self._disk.truncate(handle, result.size)
            if result.lacks_newline:
                self._disk.write_all(handle, b"\n")
            self._disk.flush(handle)
        finally:
            self._disk.close(handle)
        return result.size + result.lacks_newline

    def _write_new(self, path: Path, data: bytes) -> None:
        handle = self._disk.open(path, exclusive=True)
        try:
            try:
                self._disk.write_all(handle, data)
                self._disk.flush(handle)
            finally:
                self._disk.close(handle)
        except OSError:
            with suppress(OSError):
                self._disk.remove(path)  # half a copy; the original is still in its place
            raise

    def set_aside(
        self, user_id: str, paths: UserPaths, kind: Literal["torn", "unreadable"], why: str, size: int
    ) -> None:
        """Renames `current.yaml` to a name that no reader takes for a dialog; nothing is open then."""
        aside = self._free_name(paths, kind)
        self._disk.rename(paths.current, aside)
        self._report(user_id, aside, size, why)
        at_once(self.clear(paths))

    def _report(self, user_id: str, aside: Path, size: int, why: str) -> None:
        self._metrics.set_aside.inc()
        self._usage.forget(user_id)
        self._logger.warning("file set aside", user=user_id, file=str(aside), bytes=size, why=why)

    def _free_name(self, paths: UserPaths, kind: str) -> Path:
        name = f"current.{kind}-{second_name(self._clock.now_ms())}"
        for number in range(1, _MOST_SUFFIXES):
            path = paths.dialogs / with_suffix(name, number)
            if self._disk.find(path) is None:
                return path
        raise FileExistsError(name)

    def mark(self, paths: UserPaths, restoring: str = "") -> None:
        """Marks the user's dialog as open, durably; nothing may be appended before.

        Args:
            paths: The user's files.
            restoring: The id of an archive that is to be the open dialog, should that come to nothing.
        """
        found = self._disk.find(paths.marker)
        if found is not None and not stat.S_ISREG(found.st_mode) and not self.unmark(paths):
            return  # a name is all that a marker has to be
        handle = self._disk.open(paths.marker, create=True)
        try:
            if restoring:
                self._disk.write_all(handle, f"{restoring}\n".encode())
                self._disk.flush(handle)
        finally:
            self._disk.close(handle)
        self._disk.sync_folder(self._open_folder)

    def _old_name(self, paths: UserPaths) -> str | None:
        """The id that the marker tells of the archive which was restored last."""
        found = self._disk.find(paths.marker)
        if found is None or not stat.S_ISREG(found.st_mode) or not found.st_size:
            return None
        *lines, _torn = self._disk.read(paths.marker, found.st_size).decode("ascii", "replace").split("\n")
        return lines[-1] if lines and archive_order(lines[-1]) else None

    def unmark(self, paths: UserPaths) -> bool:
        """Takes the marker away; False where somebody has put a folder there, which stays."""
        try:
            self._disk.remove(paths.marker)
        except OSError:
            found = self._disk.find(paths.marker)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise
            if paths.marker not in self._folders:
                self._folders.add(paths.marker)
                self._logger.warning("folder in a marker's place", file=str(paths.marker))
            return False
        return True

    def unmark_at_last(self, paths: UserPaths) -> None:
        """Takes the marker away if that can be done; one that stays costs a start a look at nothing."""
        with suppress(OSError):
            self.unmark(paths)

    def remove_half_written(self, paths: UserPaths) -> None:
        """Removes what a crash has left of a change or an import of archives: nobody was told that it is.

        Raises:
            OSError: The disk refused, or somebody has put a folder there.
        """
        for name in self._disk.names(paths.archived):
            if name.startswith(paths.anew.name):
                self._disk.remove(paths.archived / name)

    def clear(self, paths: UserPaths) -> Steps[None]:
        """Leaves `current.yaml` with zero bytes and takes the marker away, once every name is durable."""
        with suppress(FileNotFoundError):
            self._disk.sync_folder(paths.archived)
        with suppress(FileNotFoundError):
            self._disk.close(self._disk.open(paths.current, create=True))
            yield
            self._disk.sync_folder(paths.dialogs)
        self.unmark(paths)
