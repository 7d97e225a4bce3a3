"""What `dialogs verify --repair` does: what a server's recovery would, and what can't lose a word."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from potoserver import SystemClock, User

from ..journal import JournalError, Reason
from ..journal.dialog_yaml import MAX_FILE_BYTES, emit_field, emit_footer
from ..journal.disk import Disk
from ..journal.layout import Layout, UserPaths, last_ms_of, second_name, with_suffix
from ..journal.scan import HEAD_BYTES, scan
from .examine import is_cut_off
from .findings import Finding, Kind
from .output import warn
from .owned import OwnedJournal

_RECOVERED: Final = frozenset(
    {Kind.TORN, Kind.NO_DIALOG, Kind.OTHER_USER, Kind.UNREADABLE, Kind.UNFINISHED, Kind.UNMARKED}
)
"""Of the open dialog: what recovery puts in order."""


class Mender:
    """Mends what belongs to one user after the other. Each step is whole or not done.

    Args:
        layout: The folder of data.
        owned: The folder's journal; its lock keeps servers away.
    """

    def __init__(self, layout: Layout, owned: OwnedJournal) -> None:
        self._layout = layout
        self._owned = owned
        self._disk = Disk(fsync=True)

    def mend(self, user_id: str | None, findings: Sequence[Finding]) -> None:
        """Mends what can be mended; what can't is left as it is."""
        for finding in findings:
            try:
                self._mend(user_id, finding)
            except OSError as error:
                warn(f"{finding.path} can't be mended: {error.strerror or error}")
            except JournalError as error:
                warn(f"{finding.path} can't be mended: {error.detail}")

    def _mend(self, user_id: str | None, finding: Finding) -> None:
        if finding.kind is Kind.MODE:
            self._close_to_others(user_id)
        if user_id is None:
            return
        paths = self._layout.user(user_id)
        of_open_dialog = finding.path == paths.current and finding.kind in _RECOVERED
        if of_open_dialog or finding.kind is Kind.STRAY_MARK:
            self._owned.run(self._owned.journal.recover(User(user_id)))
        elif finding.kind is Kind.TORN and finding.path.parent == paths.archived:
            self._end_torn(paths, finding.path)
        elif finding.kind is Kind.LEFTOVER and finding.path.parent == paths.archived:
            self._remove_copy(paths, finding.path)

    def _close_to_others(self, user_id: str | None) -> None:
        """Leaves the owner's permissions alone, of all that is one user's or of what all share."""
        layout = self._layout
        if user_id is None:
            for folder in (layout.users, layout.open):
                _close(folder)
            return
        paths = layout.user(user_id)
        _close(paths.marker)
        for place, _, names in os.walk(paths.folder):
            for path in (Path(place), *(Path(place, name) for name in names)):
                _close(path)

    def _end_torn(self, paths: UserPaths, path: Path) -> None:
        """Gives the whole messages of a cut-off archive a footer; the file as it was is set aside."""
        data = self._disk.read(path, MAX_FILE_BYTES + 1)
        result = scan(data)
        if result.dialog is None or not is_cut_off(data):
            return
        last_ms = max(message.timestamp_ms for message in result.dialog.messages)
        until_ms = last_ms_of(path.stem)
        ended_ms = max(last_ms, until_ms - 999 if last_ms <= until_ms - 999 else until_ms)
        newline = b"\n" if result.lacks_newline else b""
        footer = emit_footer(ended_ms, Reason.RECOVERED, len(result.dialog.messages))
        self._disk.remove(paths.anew)
        handle = self._disk.open(paths.anew, exclusive=True)
        try:
            self._disk.write_all(handle, data[: result.size] + newline + footer)
            self._disk.flush(handle)
        finally:
            self._disk.close(handle)
        # Both are there in whole at every moment; what is cut off between the two is mended by hand.
        self._disk.rename(path, self._free_name(paths.archived, f"{path.stem}.torn"))
        self._disk.rename(paths.anew, path)
        self._disk.sync_folder(paths.archived)

    def _free_name(self, folder: Path, begin: str) -> Path:
        name = f"{begin}-{second_name(SystemClock().now_ms())}"
        number = 1
        while self._disk.find(folder / with_suffix(name, number)) is not None:
            number += 1
        return folder / with_suffix(name, number)

    def _remove_copy(self, paths: UserPaths, path: Path) -> None:
        """Removes half a change whose every whole message stands in the archive that was being changed."""
        data = self._disk.read(path, MAX_FILE_BYTES + 1)
        half = scan(data).dialog
        if half is None and data:
            return
        if half is None or any(
            half.messages == whole[: len(half.messages)]
            for whole in self._messages_of(paths, half.conversation.id)
        ):
            self._disk.remove(path)
            self._disk.sync_folder(paths.archived)

    def _messages_of(self, paths: UserPaths, conversation_id: str) -> list[tuple[object, ...]]:
        """The messages of the archives that hold a conversation."""
        line = emit_field("conversation", conversation_id)
        found: list[tuple[object, ...]] = []
        for name in self._disk.names(paths.archived):
            path = paths.archived / name
            with suppress(OSError):
                if (
                    path.suffix == ".yaml"
                    and not name.startswith(".")
                    and line in self._disk.read(path, HEAD_BYTES)
                ):
                    dialog = scan(self._disk.read(path, MAX_FILE_BYTES)).dialog
                    if dialog is not None:
                        found.append(dialog.messages)
        return found


def _close(path: Path) -> None:
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & 0o700)
