"""A server that loads this waits longer for what modules add to `connected`: a stall makes no module late."""

from __future__ import annotations

from potoserver import ServerModule
from potoserver.module import hooks

hooks.FIELDS_TIMEOUT_S = 30.0


class Patient(ServerModule):
    """Nothing else."""
