"""Looks at every file of a folder of data, changes nothing, and tells what is wrong."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..journal.dialog_yaml import MAX_FILE_BYTES
from ..journal.disk import Disk
from ..journal.layout import Layout, UserPaths, archive_order, user_of
from ..journal.scan import scan
from .examine import Fault, faults_of_archive, faults_of_messages, read_archive
from .findings import Finding, Kind

_ASIDE: Final = re.compile(r"current\.(torn|unreadable)-\S+")
_MENDED: Final = re.compile(r"\S+\.torn-\S+")
_HALF_A_CHANGE: Final = re.compile(r"\.anew(-\d+)?")
_HALF_A_KEY: Final = re.compile(r"\.signing-key-[0-9a-f]+")
_SUFFIX: Final = ".yaml"
_OTHERS: Final = 0o077


@dataclass(slots=True)
class Counts:
    """How much was looked at."""

    users: int = 0
    archives: int = 0
    messages: int = 0


@dataclass(slots=True)
class _Modes:
    """What of one folder others may read, or belongs to somebody else, told once for all of its files."""

    first: dict[Kind, Path] = field(default_factory=dict)
    count: dict[Kind, int] = field(default_factory=dict)

    def note(self, kind: Kind, path: Path) -> None:
        self.first.setdefault(kind, path)
        self.count[kind] = self.count.get(kind, 0) + 1


class Inspection:
    """Reads a folder of data as it lies.

    Args:
        layout: The folder.
        disk: The system calls.
        step: Called after each archive.

    Attributes:
        counts: How much was looked at so far.
    """

    def __init__(self, layout: Layout, disk: Disk, step: Callable[[], None]) -> None:
        self._layout = layout
        self._disk = disk
        self._step = step
        self._owner = layout.root.stat().st_uid
        self.counts = Counts()

    def top(self) -> Iterator[Finding]:
        """What is wrong with the folders that all users share."""
        modes = _Modes()
        for folder in (self._layout.users, self._layout.open):
            fault = self._folder_fault(folder, modes)
            if fault is not None:
                yield Finding(fault[0], folder, fault[1])
        for name in sorted(self._disk.names(self._layout.root)):
            if _HALF_A_KEY.fullmatch(name):
                yield Finding(Kind.LEFTOVER, self._layout.root / name, "a start that was cut off made it")
        yield from self._told(modes, None)

    def user(self, name: str) -> Iterator[Finding]:
        """What is wrong with the files of one user, and with the marker."""
        user_id = user_of(name)
        folder = self._layout.users / name
        if user_id is None:
            yield from self._nobodys(name)
            return
        paths = self._layout.user(user_id)
        modes = _Modes()
        if self._disk.find(folder) is not None:
            self.counts.users += 1
            for each in (paths.folder, paths.dialogs, paths.archived):
                fault = self._folder_fault(each, modes)
                if fault is not None:
                    yield Finding(fault[0], each, fault[1], user_id)
                    return
            yield from self._strangers(paths, user_id, modes)
        holders: dict[str, Path] = {}
        yield from self._archives(paths, user_id, holders, modes)
        yield from self._current(paths, user_id, holders, modes)
        yield from self._told(modes, user_id)

    def _nobodys(self, name: str) -> Iterator[Finding]:
        for path in (self._layout.users / name, self._layout.open / name):
            if self._disk.find(path) is not None:
                yield Finding(Kind.FOREIGN, path, "its name is no user's")

    def _folder_fault(self, folder: Path, modes: _Modes) -> Fault | None:
        found = self._disk.find(folder)
        if found is None:
            return None
        if not stat.S_ISDIR(found.st_mode):
            return Kind.UNREADABLE, "it is no folder, and links are not followed"
        self._note_mode(folder, found, modes)
        try:
            self._disk.names(folder)
        except OSError as error:
            return Kind.UNREADABLE, error.strerror or str(error)
        return None

    def _note_mode(self, path: Path, found: os.stat_result, modes: _Modes) -> None:
        if stat.S_IMODE(found.st_mode) & _OTHERS and not stat.S_ISLNK(found.st_mode):
            modes.note(Kind.MODE, path)
        if found.st_uid != self._owner:
            modes.note(Kind.OWNER, path)

    def _told(self, modes: _Modes, user_id: str | None) -> Iterator[Finding]:
        for kind, count in modes.count.items():
            path = modes.first[kind]
            more = f", and {count - 1} more of this user's" if count > 1 else ""
            if kind is Kind.MODE:
                says = f"others on this machine may read it{more}"
            else:
                with suppress(OSError, KeyError):
                    whose = pwd.getpwuid(path.lstat().st_uid).pw_name
                    owner = pwd.getpwuid(self._owner).pw_name
                    more = f" ({whose}, not {owner}){more}"
                says = f"it belongs to somebody else{more}"
            yield Finding(kind, path, says, user_id)

    def _strangers(self, paths: UserPaths, user_id: str, modes: _Modes) -> Iterator[Finding]:
        """What lies beside the files that belong here."""
        for folder, own in (
            (paths.folder, {paths.dialogs, paths.told}),
            (paths.dialogs, {paths.archived, paths.current}),
        ):
            for name in sorted(self._disk.names(folder)):
                path = folder / name
                found = self._disk.find(path)
                if found is None:
                    continue
                if stat.S_ISREG(found.st_mode):
                    self._note_mode(path, found, modes)
                if path in own:
                    continue
                if folder == paths.dialogs and _ASIDE.fullmatch(name):
                    yield Finding(
                        Kind.SET_ASIDE, path, f"{found.st_size} bytes to look at, then to delete", user_id
                    )
                else:
                    yield Finding(Kind.FOREIGN, path, "nothing here is called so", user_id)

    def _archives(
        self, paths: UserPaths, user_id: str, holders: dict[str, Path], modes: _Modes
    ) -> Iterator[Finding]:
        for name in sorted(self._disk.names(paths.archived)):
            path = paths.archived / name
            for kind, says in self._archive(path, user_id, holders, modes):
                yield Finding(kind, path, says, user_id)
            self._step()

    def _archive(self, path: Path, user_id: str, holders: dict[str, Path], modes: _Modes) -> Iterator[Fault]:
        found = self._disk.find(path)
        if found is None:
            return  # deleted since
        if stat.S_ISREG(found.st_mode):
            self._note_mode(path, found, modes)
        if _MENDED.fullmatch(path.name):
            yield Kind.SET_ASIDE, f"{found.st_size} bytes to look at, then to delete"
            return
        if path.suffix != _SUFFIX or archive_order(path.stem) is None:
            half = _HALF_A_CHANGE.fullmatch(path.name)
            yield (Kind.LEFTOVER, "half a change") if half else (Kind.FOREIGN, "no archive is called so")
            return
        self.counts.archives += 1
        data, fault = self._bytes(path, found)
        if data is None:
            if fault is not None:
                yield fault
            return
        dialog, fault = read_archive(data)
        if dialog is None:
            assert fault is not None, "it is one or the other"
            yield fault
            return
        self.counts.messages += len(dialog.messages)
        if dialog.user_id != user_id:
            yield Kind.OTHER_USER, f"it is a dialog of {dialog.user_id}"
        yield from faults_of_archive(path.stem, data, dialog)
        yield from _held_already(dialog.conversation.id, path, holders)

    def _current(
        self, paths: UserPaths, user_id: str, holders: dict[str, Path], modes: _Modes
    ) -> Iterator[Finding]:
        marked = self._disk.find(paths.marker)
        if marked is not None:
            self._note_mode(paths.marker, marked, modes)
        found = self._disk.find(paths.current)
        if found is None or (found.st_size == 0 and stat.S_ISREG(found.st_mode)):
            if marked is not None:
                yield Finding(Kind.STRAY_MARK, paths.marker, "no dialog of this user is open", user_id)
            return
        for kind, says in self._open_dialog(paths, user_id, holders, found):
            yield Finding(kind, paths.current, says, user_id)
        if marked is None:
            yield Finding(Kind.UNMARKED, paths.current, "it is open, and nothing marks it", user_id)

    def _open_dialog(
        self, paths: UserPaths, user_id: str, holders: dict[str, Path], found: os.stat_result
    ) -> Iterator[Fault]:
        data, fault = self._bytes(paths.current, found)
        if data is None:
            if fault is not None:
                yield fault
            return
        result = scan(data)
        dialog = result.dialog
        if dialog is None:
            yield (Kind.TORN if result.torn else Kind.NO_DIALOG), result.why
            return
        self.counts.messages += len(dialog.messages)
        if dialog.user_id != user_id:
            yield Kind.OTHER_USER, f"it is a dialog of {dialog.user_id}"
        if result.size < len(data):
            yield Kind.TORN, f"its last {len(data) - result.size} bytes are no whole message: {result.why}"
        if dialog.ended_ms is not None:
            yield Kind.UNFINISHED, "it has its footer and was not archived"
        yield from faults_of_messages(dialog)
        yield from _held_already(dialog.conversation.id, paths.current, holders)

    def _bytes(self, path: Path, found: os.stat_result) -> tuple[bytes | None, Fault | None]:
        if not stat.S_ISREG(found.st_mode):
            return None, (Kind.UNREADABLE, "it is no ordinary file, and links are not followed")
        try:
            return self._disk.read(path, MAX_FILE_BYTES + 1), None
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, (Kind.UNREADABLE, error.strerror or str(error))


def all_names(layout: Layout, disk: Disk) -> list[str]:
    """The names of users' folders and of markers, sorted; what is no user's is among them."""
    found: set[str] = set()
    for folder in (layout.users, layout.open):
        with suppress(OSError):  # `Inspection.top` tells
            found.update(disk.names(folder))
    return sorted(found)


def count_archives(layout: Layout, disk: Disk, name: str) -> int:
    """How many files the archives of the user with a folder of that name are."""
    with suppress(OSError):
        return len(disk.names(layout.users / name / "dialogs" / "archived"))
    return 0


def _held_already(conversation_id: str, path: Path, holders: dict[str, Path]) -> Iterator[Fault]:
    other = holders.setdefault(conversation_id, path)
    if other != path:
        yield Kind.DUPLICATE, f"{other.name} holds the same conversation"
