"""The folder of data, read as it lies: no lock is taken and nothing is changed.

That is safe beside a running server. An archive appears whole, by a rename, and does not change in place;
the open dialog may grow while it is read, and then ends with a message that is not whole.
"""

from __future__ import annotations

import errno
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import typer
from structlog.typing import EventDict, WrappedLogger

from potoserver import User, visible

from ..journal.archives import Archives
from ..journal.dialog_yaml import MAX_FILE_BYTES
from ..journal.disk import Disk
from ..journal.layout import Layout, user_of
from ..journal.records import ArchiveSummary, Dialog
from ..journal.scan import scan
from ..journal.stored import StoredArchive

OPEN_ID: Final = "current"
"""Stands for the open dialog where an archive's id is asked for; no archive is called so."""

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A dialog that was found.

    Attributes:
        user_id: Whose.
        archive_id: Its id, or `OPEN_ID`.
        dialog: All of it.
    """

    user_id: str
    archive_id: str
    dialog: Dialog


class DialogFolder:
    """Reads what is under a folder of data.

    Args:
        data_dir: The folder.

    Attributes:
        unread: How many files or folders could not be read; each was told on the error output.

    Raises:
        typer.TyperException: There is no such folder, or it can't be read.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.layout = Layout(data_dir)
        self.disk = Disk(fsync=False)
        self.unread = 0
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[self._told],
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
        )
        self.archives = Archives(self.disk, self.layout, self._logger)
        try:
            if not data_dir.is_dir():
                raise typer.TyperException(f"there is no folder of data {data_dir}")
            self.disk.names(data_dir)
        except OSError as error:
            raise typer.TyperException(f"{data_dir} can't be read: {error.strerror}") from None

    def _told(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        self.unread += 1
        return visible(f"potoserver: {event['event']}: {event['file']}: {event['why']}")

    def users(self) -> list[str]:
        """The ids of all users who have a folder, sorted by its name."""
        try:
            names = self.disk.names(self.layout.users)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                return []
            raise
        ids = (user_of(name) for name in sorted(names))
        return [user_id for user_id in ids if user_id is not None and not self._is_led_away(user_id)]

    def _is_led_away(self, user_id: str) -> bool:
        """Whether something else, such as a link, stands in the place of one of a user's folders."""
        paths = self.layout.user(user_id)
        for folder in (paths.folder, paths.dialogs, paths.archived):
            try:
                found = self.disk.find(folder)
            except OSError as error:
                self.tell(folder, error)
                return True
            if found is not None and not stat.S_ISDIR(found.st_mode):
                self.tell(folder, OSError(errno.ENOTDIR, "it is no folder, and links are not followed"))
                return True
        return False

    def chosen(self, user_id: str | None) -> Sequence[str]:
        """The one user that was asked for, or all.

        Raises:
            typer.TyperException: No user can have that id, or none has a folder here.
        """
        if user_id is None:
            return self.users()
        try:
            User.create(user_id)
        except ValueError as error:
            raise typer.TyperException(f"--user: {error}") from None
        if self.disk.find(self.layout.user(user_id).folder) is None:
            raise typer.TyperException(f"--user: {visible(user_id)} has no dialogs in {self.data_dir}")
        return [] if self._is_led_away(user_id) else [user_id]

    def count(self, user_id: str) -> int:
        """How many files a user's archives are."""
        try:
            return len(self.disk.names(self.layout.user(user_id).archived))
        except OSError:
            return 0  # that is told when they are read

    def archive_ids(self, user_id: str) -> list[str]:
        """The ids of a user's archives, newest first, also of those that can't be read."""
        try:
            return self.archives.ids(user_id)
        except OSError as error:
            self.tell(self.layout.user(user_id).archived, error)
            return []

    def stored(self, user_id: str, archive_id: str) -> StoredArchive | None:
        """One archive as it is stored; None where there is none any more."""
        try:
            return self.archives.stored(user_id, archive_id)
        except OSError as error:
            self.tell(self.archives.path(user_id, archive_id), error)
            return StoredArchive(archive_id, b"", lambda: None)

    def summaries(self, user_id: str) -> Iterator[ArchiveSummary]:
        """A user's archives, newest first. What can't be read is told and passed over."""
        cursor: str | None = None
        while True:
            try:
                page = self.archives.page(user_id, _PAGE, cursor)
            except OSError as error:
                self.tell(self.layout.user(user_id).archived, error)
                return
            yield from page.archives
            cursor = page.cursor
            if cursor is None:
                return

    def open_dialog(self, user_id: str) -> Dialog | None:
        """A user's open dialog, as far as it is whole; None without one."""
        stored = self.open_stored(user_id)
        return stored.dialog() if stored is not None else None

    def open_stored(self, user_id: str) -> StoredArchive | None:
        """A user's open dialog as if it were an archive; None without one."""
        path = self.layout.user(user_id).current
        try:
            found = self.disk.find(path)
            if found is None or found.st_size == 0:
                return None
            data = self.disk.read(path, MAX_FILE_BYTES)
            result = scan(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.tell(path, error)
            return None
        if result.dialog is None or result.dialog.user_id != user_id:
            self._logger.warning("open dialog can't be read", file=str(path), why=result.why or "not theirs")
            return None
        return StoredArchive(OPEN_ID, data, lambda: result.dialog)

    def get(self, user_id: str, archive_id: str) -> Found | None:
        """One dialog of a user, an archive or the open one."""
        if archive_id == OPEN_ID:
            dialog = self.open_dialog(user_id)
        else:
            try:
                dialog = self.archives.get(user_id, archive_id)
            except OSError as error:
                self.tell(self.layout.user(user_id).archived, error)
                return None
        return Found(user_id, archive_id, dialog) if dialog is not None else None

    def tell(self, path: Path, error: OSError) -> None:
        """Tells on the error output that something can't be read."""
        self._logger.warning("can't be read", file=str(path), why=error.strerror or str(error))
