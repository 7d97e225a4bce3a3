"""Keeps a user's archives in the order of their ends, also where the machine's clock is behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from .dialog_yaml import NotADialogError
from .disk import Disk
from .layout import UserPaths, archive_order, last_ms_of, second_name
from .scan import TAIL_BYTES, read_end

MOST_AHEAD_MS: Final = 24 * 60 * 60 * 1000
"""An archive further ahead than this bears a wildly wrong time, and must not pull all later ones along."""

_SUFFIX: Final = ".yaml"


def end_in_order(disk: Disk, paths: UserPaths, ended_ms: int) -> int:
    """When a dialog that ends at that time is to have ended: not before the user's newest archive.

    Within one life of the server stamps never go back. But it may be started on a machine whose clock is
    behind, as one without a battery-backed clock is at first; then a later end would get an earlier name.
    """
    # The order is worth less than the archive: what can't be read holds nothing up.
    with suppress(OSError):
        newest = _newest(disk.names(paths.archived), ended_ms)
        if newest is not None:
            return max(ended_ms, _end_of(disk, paths, newest))
    return ended_ms


def _newest(names: list[str], ended_ms: int) -> str | None:
    """The newest archive that does not come before an end at that time, and not too far behind it either."""
    since, until = second_name(ended_ms), second_name(ended_ms + MOST_AHEAD_MS)
    # Compared as text first: hardly any name is left then, however many there are.
    ids = [name.removesuffix(_SUFFIX) for name in names if since <= name and name.endswith(_SUFFIX)]
    known = [(order, found) for found in ids if (order := archive_order(found)) and order[0] <= until]
    return max(known)[1] if known else None


def _end_of(disk: Disk, paths: UserPaths, archive_id: str) -> int:
    """When an archive ended: what its file says, or at the latest what its name does."""
    path = paths.archived / f"{archive_id}{_SUFFIX}"
    found = disk.find(path)
    if found is not None:
        tail = disk.read(path, TAIL_BYTES, max(0, found.st_size - TAIL_BYTES))
        with suppress(NotADialogError):
            ended_ms, _, _ = read_end(tail)
            if archive_id.startswith(second_name(ended_ms)):
                return ended_ms
    return last_ms_of(archive_id)
