"""What the journal meets on its disk: the alarms `disk-full`, `disk-failing`, `user-folder`; newer tokens."""

from __future__ import annotations

import errno

from typing_extensions import override

from potoserver import ModuleContext

from .journal.tools import NO_ROOM, DiskWatch

_FULL = "disk-full"
_FAILING = "disk-failing"
_FOLDER = "user-folder"
_OF_A_FOLDER = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
"""A link, a file or somebody else's folder in the place of a user's: the disk itself is well."""
_FOLDER_QUIET_S = 90.0
"""Longer than from one try of an archive to the next: what others can write says nothing of that folder."""


class DiskAlarms(DiskWatch):
    """Raises an alarm at each failure; those of the disk go with the next thing that could be written.

    Args:
        context: Where alarms are raised.
    """

    def __init__(self, context: ModuleContext) -> None:
        self._context = context
        self._folder_failed_s = 0.0

    @override
    def failed(self, error: OSError) -> None:
        if error.errno in _OF_A_FOLDER:
            self._folder_failed_s = self._context.clock.monotonic_s()
            self._context.set_alarm(_FOLDER, error=str(error))
        else:
            self._context.set_alarm(_FULL if error.errno in NO_ROOM else _FAILING, error=str(error))

    @override
    def wrote(self) -> None:
        self._context.clear_alarm(_FULL)
        self._context.clear_alarm(_FAILING)
        if self._context.clock.monotonic_s() - self._folder_failed_s >= _FOLDER_QUIET_S:
            self._context.clear_alarm(_FOLDER)

    @override
    def fenced(self, user_id: str, token: int) -> None:
        self._context.homes.fenced(user_id, token)
