"""A user's archives on disk: a page of them, one of them, those since a moment. Blocking."""

from __future__ import annotations

import errno
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from .dialog_yaml import MAX_FILE_BYTES, NotADialogError, emit_field, parse_dialog
from .disk import Disk
from .layout import Layout, archive_order, second_name
from .pins import PinIndex
from .records import ArchivePage, ArchiveSummary, Dialog
from .references import ReferenceIndex, lines_in
from .scan import HEAD_BYTES, TAIL_BYTES, summarize, summarize_dialog
from .stored import StoredArchive

_SUFFIX: Final = ".yaml"
_REPORTED_LIMIT: Final = 1024
_FIRST_LINE_BYTES: Final = 512
_CONVERSATION: Final = re.compile(rb"conversation: \"([A-Za-z0-9._-]+)\"\n")
_ODD_ENTRY: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM})
"""What opening a link, a folder, a socket or somebody else's file gives: no fault of the disk."""


class Archives:
    """Reads what is under `archived`; files that are no archives are passed over.

    Args:
        disk: The system calls.
        layout: Where things lie.
        logger: `journal:archive`; an archive that can't be read is reported there once.
    """

    def __init__(self, disk: Disk, layout: Layout, logger: FilteringBoundLogger) -> None:
        self._disk = disk
        self._layout = layout
        self._logger = logger
        self._reported: OrderedDict[Path, None] = OrderedDict()
        self._references = ReferenceIndex()
        self._pins = PinIndex()

    def page(
        self, user_id: str, limit: int, cursor: str | None, *, pinned: bool | None = None
    ) -> ArchivePage:
        """A page, newest first; the cursor is the last id of the page before.

        Raises:
            OSError: The disk refused.
        """
        ids = self.ids(user_id)
        if cursor is not None:
            before = archive_order(cursor)
            ids = [found for found in ids if before is None or _order(found) < before]
        if pinned:
            candidates = self._pinned(user_id)
            ids = [found for found in ids if found in candidates]
        page: list[ArchiveSummary] = []
        for position, archive_id in enumerate(ids):
            summary = self.summary(user_id, archive_id)
            if summary is not None and pinned in {None, summary.pinned}:
                page.append(summary)
            if len(page) == limit:
                return ArchivePage(tuple(page), archive_id if position + 1 < len(ids) else None)
        return ArchivePage(tuple(page), None)

    def get(self, user_id: str, archive_id: str) -> Dialog | None:
        """One archive; None where there is none that can be read.

        Raises:
            OSError: The disk refused.
        """
        found = self.file(user_id, archive_id)
        return found[1] if found else None

    def file(self, user_id: str, archive_id: str) -> tuple[bytes, Dialog] | None:
        """One archive's bytes and what they hold; None where there is none that can be read.

        Raises:
            OSError: The disk refused.
        """
        if archive_order(archive_id) is None:
            return None
        path = self.path(user_id, archive_id)
        data = self._read(path)
        dialog = self._parse(user_id, path, data) if data is not None else None
        return (data, dialog) if data is not None and dialog is not None else None

    def stored(self, user_id: str, archive_id: str) -> StoredArchive | None:
        """One archive as it is stored; None where there is none. What can't be read has no bytes.

        Raises:
            OSError: The disk refused.
        """
        path = self.path(user_id, archive_id)
        data = self._read(path)
        if data is None:
            return None if self._disk.find(path) is None else StoredArchive(archive_id, b"", lambda: None)
        return StoredArchive(archive_id, data, lambda: self._parse(user_id, path, data))

    def since(self, user_id: str, since_ms: int, line: bytes) -> Iterator[Dialog]:
        """The archives that ended since then and hold a line of `references`, newest first.

        Args:
            user_id: Whose.
            since_ms: Wall time, milliseconds since 1970 UTC.
            line: As `key_line` or `reply_line` gives it.

        Raises:
            OSError: The disk refused.
        """
        folder = self._layout.user(user_id).archived
        for archive_id in self.ids(user_id, second_name(since_ms)):
            lines = self._references.find(user_id, archive_id)
            if lines is None:
                data = self._read(folder / f"{archive_id}{_SUFFIX}")
                if data is None:
                    continue
                lines = lines_in(data)
                self._references.add(user_id, archive_id, lines)
            if line in lines:
                dialog = self.get(user_id, archive_id)
                if dialog is not None:
                    yield dialog

    def untold(self, user_id: str) -> ArchiveSummary | None:
        """The newest archive, unless `mark_told` has named it or a newer one.

        Raises:
            OSError: The disk refused.
        """
        page = self.page(user_id, 1, None)
        if not page.archives:
            return None
        newest = page.archives[0]
        kept = self._read(self._layout.user(user_id).told) or b""
        told = archive_order(kept.decode("ascii", "replace").strip())
        return newest if told is None or _order(newest.id) > told else None

    def mark_told(self, user_id: str, archive_id: str) -> None:
        """Keeps that the user was told of an archive. Not flushed: torn or lost, it is told again.

        Raises:
            OSError: The disk refused.
        """
        self._disk.put(self._layout.user(user_id).told, f"{archive_id}\n".encode())

    def ids(self, user_id: str, oldest: str = "") -> list[str]:
        """The archives' ids, newest first, from that second on.

        Raises:
            OSError: The disk refused.
        """
        names = self._disk.names(self._layout.user(user_id).archived)
        ids = [name.removesuffix(_SUFFIX) for name in names if name >= oldest and name.endswith(_SUFFIX)]
        return sorted((found for found in ids if archive_order(found)), key=_order, reverse=True)

    def path(self, user_id: str, archive_id: str) -> Path:
        """Where an archive of that id lies."""
        return self._layout.user(user_id).archived / f"{archive_id}{_SUFFIX}"

    def _read(self, path: Path, size: int = MAX_FILE_BYTES + 1, offset: int = 0) -> bytes | None:
        """The bytes of a file; None where there is none, or something odd in its place."""
        try:
            return self._disk.read(path, size, offset)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _ODD_ENTRY:
                raise
            self._report(path, error)
            return None

    def _parse(self, user_id: str, path: Path, data: bytes) -> Dialog | None:
        try:
            dialog = parse_dialog(data)
            summarize_dialog(path.stem, dialog)
        except NotADialogError as error:
            self._report(path, error)
            return None
        if dialog.user_id != user_id:
            # Put here by mistake, or another name of the other user's file.
            self._report(path, NotADialogError("it is another user's"))
            return None
        return dialog

    def conversations(self, user_id: str) -> dict[str, str]:
        """The conversations that are archived, each with its archive's id.

        Raises:
            OSError: The disk refused.
        """
        found: dict[str, str] = {}
        for archive_id in self.ids(user_id):
            first = _CONVERSATION.match(self._read(self.path(user_id, archive_id), _FIRST_LINE_BYTES) or b"")
            if first:
                found[first[1].decode()] = archive_id
                continue
            dialog = self.get(user_id, archive_id)
            if dialog is not None:
                found[dialog.conversation.id] = archive_id
        return found

    def expired(self, user_id: str, before_ms: int | None, keep: int | None) -> list[ArchiveSummary]:
        """Those that are too old or too many, see `DialogueJournal.expired_archives`.

        Only what may have expired is looked at, so a look at who has nothing of it costs a list of names.

        Raises:
            OSError: The disk refused.
        """
        ids = self.ids(user_id)
        too_many = keep is not None and len(ids) > keep
        # A name tells the second of the end.
        until = "" if before_ms is None else second_name(before_ms)
        expired: list[ArchiveSummary] = []
        kept = 0
        for archive_id in ids:
            if not too_many and archive_id[:19] > until:
                continue
            archive = self.summary(user_id, archive_id)
            if archive is None or archive.pinned:
                continue
            is_old = before_ms is not None and archive.ended_ms < before_ms
            if is_old or (keep is not None and too_many and kept >= keep):
                expired.append(archive)
            else:
                kept += 1
        return expired

    def forget(self, user_id: str, archive_id: str) -> None:
        """An archive is none any more; another one may get its id some day."""
        self._references.remove(user_id, archive_id)

    def forget_user(self, user_id: str) -> None:
        """All of a user's may be others now."""
        self._references.remove_user(user_id)
        self._pins.forget(user_id)

    def _pinned(self, user_id: str) -> frozenset[str]:
        """The ids of those that may be pinned."""
        folder = self._disk.find(self._layout.user(user_id).archived)
        changed_ns = folder.st_mtime_ns if folder is not None else 0
        known = self._pins.find(user_id, changed_ns)
        if known is None:
            known = frozenset(each for each in self.ids(user_id) if self._may_be_pinned(user_id, each))
            self._pins.keep(user_id, changed_ns, known)
        return known

    def _may_be_pinned(self, user_id: str, archive_id: str) -> bool:
        """Whether reading its summary may show that. Of ten thousand archives only few are pinned."""
        head = self._read(self.path(user_id, archive_id), HEAD_BYTES)
        return head is not None and b"pinned" in head

    def summary(self, user_id: str, archive_id: str) -> ArchiveSummary | None:
        """One archive's summary; None where there is none that can be read.

        Raises:
            OSError: The disk refused.
        """
        if archive_order(archive_id) is None:
            return None
        path = self.path(user_id, archive_id)
        found = self._disk.find(path)
        if found is None:
            return None
        head = self._read(path, HEAD_BYTES)
        tail = self._read(path, TAIL_BYTES, max(0, found.st_size - TAIL_BYTES))
        if head is None or tail is None:
            return None
        if head.split(b"\n", 2)[1:2] == [emit_field("user", user_id)]:
            with suppress(NotADialogError):
                return summarize(archive_id, head, tail)
        # A person may have edited it: read it whole.
        dialog = self.get(user_id, archive_id)
        return summarize_dialog(archive_id, dialog) if dialog else None

    def _report(self, path: Path, error: NotADialogError | OSError) -> None:
        if path in self._reported:
            return
        self._reported[path] = None
        if len(self._reported) > _REPORTED_LIMIT:
            self._reported.popitem(last=False)
        self._logger.warning("archive can't be read", file=str(path), why=str(error))


def _order(archive_id: str) -> tuple[str, int]:
    order = archive_order(archive_id)
    assert order is not None, "only archive ids are compared"
    return order
