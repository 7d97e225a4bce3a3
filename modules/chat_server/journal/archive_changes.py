"""Changes of a user's archives on disk: another title, a pin, gone. Blocking; one thread at a time."""

from __future__ import annotations

from dataclasses import replace

from .archives import Archives
from .dialog_yaml import MAX_FILE_BYTES
from .errors import (
    DialogFullError,
)
from .marks import with_marks
from .records import ArchiveSummary, Dialog
from .rewriting import write_anew
from .scan import summarize_dialog
from .tools import Tools


class ArchiveChanges:
    """Whoever looks, also after a crash, finds an archive as it was or as it is to be, and never twice.

    Args:
        tools: What all users' dialogs share.
        archives: Reads them.
    """

    def __init__(self, tools: Tools, archives: Archives) -> None:
        self._tools = tools
        self._disk = tools.disk
        self._archives = archives

    def rename(
        self, user_id: str, archive_id: str, title: str | None, *, only_untitled: bool
    ) -> ArchiveSummary | None:
        """See `DialogueJournal.rename_archive`.

        Raises:
            OSError: The disk refused; the archive is as it was, or as it is to be.
            JournalError: The file can't be changed in this way.
        """
        found = self._archives.file(user_id, archive_id)
        if found is None:
            return None
        data, dialog = found
        if only_untitled and dialog.title is not None:
            return None
        return self._mark(user_id, archive_id, data, dialog, title, pinned=dialog.pinned)

    def pin(self, user_id: str, archive_id: str, *, pinned: bool) -> ArchiveSummary | None:
        """See `DialogueJournal.pin_archive`; raises what `rename` does."""
        found = self._archives.file(user_id, archive_id)
        if found is None:
            return None
        data, dialog = found
        return self._mark(user_id, archive_id, data, dialog, dialog.title, pinned=pinned)

    def delete(self, user_id: str, archive_id: str, *, unless_pinned: bool) -> bool:
        """See `DialogueJournal.delete_archive`.

        Raises:
            OSError: The disk refused; call again.
        """
        paths = self._tools.layout.user(user_id)
        path = self._archives.path(user_id, archive_id)
        archive = self._archives.summary(user_id, archive_id)
        there = self._disk.find(path) if archive is not None else None
        if archive is None or there is None or (unless_pinned and archive.pinned):
            return False
        self._tools.recovery.remove_half_written(paths)  # it may hold the same words
        self._disk.remove(path)
        self._disk.sync_folder(paths.archived)
        self._archives.forget(user_id, archive_id)
        self._tools.former.add(user_id, archive_id, archive.conversation.id)
        self._tools.usage.removed(user_id, there.st_size)
        self._tools.archive_log.info("archive deleted", user=user_id, archive=archive_id)
        return True

    def _mark(
        self, user_id: str, archive_id: str, data: bytes, dialog: Dialog, title: str | None, *, pinned: bool
    ) -> ArchiveSummary:
        changed = with_marks(data, dialog, title, pinned=pinned)
        if len(changed) > MAX_FILE_BYTES:
            raise DialogFullError("This archive has the largest size that there is: no room for the title.")
        if changed != data:
            path = self._archives.path(user_id, archive_id)
            write_anew(self._disk, self._tools.layout.user(user_id), path, changed)
            self._tools.usage.removed(user_id, len(data))
            self._tools.usage.archived(user_id, len(changed))
            self._tools.archive_log.info(
                "archive marked", user=user_id, archive=archive_id, pinned=pinned, titled=title is not None
            )
        else:
            # An earlier try may have failed before it was durable.
            self._disk.sync_folder(self._tools.layout.user(user_id).archived)
        return summarize_dialog(archive_id, replace(dialog, title=title, pinned=pinned))
