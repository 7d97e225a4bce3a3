"""Keeps a user's archives in the order of their ends, also where the machine's clock is behind."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from .by_folder import ByFolder
from .dialog_yaml import NotADialogError
from .disk import Disk
from .layout import UserPaths, archive_order, last_ms_of, second_name
from .scan import TAIL_BYTES, read_end

MOST_AHEAD_MS: Final = 24 * 60 * 60 * 1000
"""An archive further ahead than this bears a wildly wrong time, and must not pull all later ones along."""

_SUFFIX: Final = ".yaml"
_FEW: Final = 64
"""So many names are looked through each time; whose folder holds more is remembered."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dialog comes among its user's archives.

    Attributes:
        ended_ms: When it is to have ended: wall time, milliseconds since 1970 UTC.
        number: The first that its name may have: 1, or where there are many behind the last of that second.
        of_many: It comes last, and there are so many that this is to be remembered.
    """

    ended_ms: int
    number: int = 1
    of_many: bool = False


@dataclass(frozen=True, slots=True)
class _Last:
    archive_id: str
    ended_ms: int


class ArchiveOrder:
    """Gives each dialog that ends a place behind the user's archives that there are.

    Within one life of the server stamps never go back. But it may be started on a machine whose clock is
    behind, as one without a battery-backed clock is at first; then a later end would get an earlier name. So
    the names in the folder are looked through, unless nothing has come to it or gone since the last one did.

    Args:
        disk: The system calls.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # A change in the tick of the file system's clock in which we made ours is not noticed. It would have
        # to bring an archive from the hours to come, which would then stand behind some that ended later.
        self._last = ByFolder[_Last]()

    def place(self, user_id: str, paths: UserPaths, ended_ms: int) -> Place:
        """The place of a dialog that ends at that time: not before the user's newest archive."""
        # The order is worth less than the archive: what can't be read holds nothing up.
        with suppress(OSError):
            last = self._last.find(user_id, self._changed_ns(paths)) if user_id in self._last else None
            if last is not None:
                return _behind(last, ended_ms, of_many=True)
            names = self._disk.names(paths.archived)
            newest, is_ahead = _newest(names, ended_ms)
            of_many = len(names) > _FEW and not is_ahead
            if newest is None:
                return Place(ended_ms, of_many=of_many)
            return _behind(_Last(newest, self._end_of(paths, newest)), ended_ms, of_many=of_many)
        return Place(ended_ms)

    def took(self, user_id: str, paths: UserPaths, archive_id: str, place: Place) -> None:
        """A dialog has taken its place, under that name."""
        if place.of_many:
            with suppress(OSError):
                self._last.keep(user_id, self._changed_ns(paths), _Last(archive_id, place.ended_ms))

    def forget(self, user_id: str) -> None:
        """Another node may have archived dialogs of the user."""
        self._last.forget(user_id)

    def _changed_ns(self, paths: UserPaths) -> int:
        folder = self._disk.find(paths.archived)
        return folder.st_mtime_ns if folder is not None else 0

    def _end_of(self, paths: UserPaths, archive_id: str) -> int:
        """When an archive ended: what its file says, or at the latest what its name does."""
        path = paths.archived / f"{archive_id}{_SUFFIX}"
        found = self._disk.find(path)
        if found is not None:
            tail = self._disk.read(path, TAIL_BYTES, max(0, found.st_size - TAIL_BYTES))
            with suppress(NotADialogError):
                ended_ms, _, _ = read_end(tail)
                if archive_id.startswith(second_name(ended_ms)):
                    return ended_ms
        return last_ms_of(archive_id)


def _behind(last: _Last, ended_ms: int, *, of_many: bool) -> Place:
    ended_ms = max(ended_ms, last.ended_ms)
    order = archive_order(last.archive_id)
    is_same = of_many and order is not None and order[0] == second_name(ended_ms)
    return Place(ended_ms, order[1] + 1 if order is not None and is_same else 1, of_many)


def _newest(names: list[str], ended_ms: int) -> tuple[str | None, bool]:
    """The newest archive that does not come before an end at that time, and not too far behind it either.

    And whether there is one that does come too far behind it.
    """
    since, until = second_name(ended_ms), second_name(ended_ms + MOST_AHEAD_MS)
    # Compared as text first: hardly any name is left then, however many there are.
    ids = [name.removesuffix(_SUFFIX) for name in names if since <= name and name.endswith(_SUFFIX)]
    known = [(order, found) for found in ids if (order := archive_order(found))]
    near = [each for each in known if each[0][0] <= until]
    return (max(near)[1] if near else None), len(near) < len(known)
