"""The alarms `disk-full` and `disk-failing`: what the journal met on its disk, for the operator."""

from __future__ import annotations

from typing_extensions import override

from potoserver import ModuleContext

from .journal.tools import NO_ROOM, DiskWatch

_FULL = "disk-full"
_FAILING = "disk-failing"


class DiskAlarms(DiskWatch):
    """Raises an alarm at each failure; both go with the next thing that could be written.

    Args:
        context: Where alarms are raised.
    """

    def __init__(self, context: ModuleContext) -> None:
        self._context = context

    @override
    def failed(self, error: OSError) -> None:
        self._context.set_alarm(_FULL if error.errno in NO_ROOM else _FAILING, error=str(error))

    @override
    def wrote(self) -> None:
        self._context.clear_alarm(_FULL)
        self._context.clear_alarm(_FAILING)
